"""The process that measures one job: ``python -m benchmarks.worker JOB``.

Nothing is imported here that is not needed to start: imports are part of what is measured.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from benchmarks.job import Job


def main() -> None:
    job = Job.loads(sys.argv[1])
    result = importlib.import_module(job.module).measure(job)
    Path(job.result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
