"""Start a worker: `python -m dnsfront.worker CONTROL_FD`, by the supervisor only."""

import sys

from dnsfront.worker.loop import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
