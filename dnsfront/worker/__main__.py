"""Start a worker, or what forks workers; by the supervisor only.

`python -m dnsfront.worker CONTROL_FD`, or `python -m dnsfront.worker nursery FD`.
"""

import sys

from dnsfront.worker import main, nursery

if __name__ == "__main__":
    begin = nursery.main if sys.argv[1] == "nursery" else main.main
    sys.exit(begin(int(sys.argv[-1])))
