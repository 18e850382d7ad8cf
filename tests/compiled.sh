#!/usr/bin/env bash
# The unit tests of the query path, against the installed, compiled form: compiled.sh [ARGUMENTS of pytest]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
installed=$(.venv-compiled/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The installed package must come before the checkout, which pytest puts first by default.
export PYTHONPATH=$installed:$PWD
.venv/bin/python -P -c '
from dnsfront.supervisor.host.form import query_path
assert query_path() == "compiled", "the installed query path is not compiled"'
exec .venv/bin/python -P -m pytest --import-mode=append \
  tests/unit/test_{cache,chain,compression,cookies,edns,kernel_book,names,query,response,shape,wire,worker}*.py "$@"
