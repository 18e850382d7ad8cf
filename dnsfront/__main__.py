"""``python -m dnsfront`` is ``dnsfront``."""

import sys

from dnsfront.cli.main import main

sys.exit(main())
