"""Run by the Python of an installed wheel: runs commands one after the other, as `unroll` does, in one process.

Takes them as JSON, a list of lists; prints what each wrote to standard error and its exit status, as JSON.
"""

import contextlib
import io
import json
import sys
import traceback

from service.cli import main

found = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["unroll", *command]
    written = io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(written):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        except BaseException:
            status = traceback.format_exc()
    if isinstance(status, str):  # as the interpreter does it
        written.write(status + "\n")
        status = 1
    found.append([status, written.getvalue()])
print(json.dumps(found))
