"""Start a worker, or what forks workers; by the supervisor only.

`python -m dnsfront.worker CONTROL_FD`, or `python -m dnsfront.worker nursery FD`.
"""

import sys

from dnsfront.worker import loop, nursery

if __name__ == "__main__":
    main = nursery.main if sys.argv[1] == "nursery" else loop.main
    sys.exit(main(int(sys.argv[-1])))
