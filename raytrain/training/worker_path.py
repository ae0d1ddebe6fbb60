"""Where Ray's workers look for modules: this program's folder, not the one the command was given in.

Ray adds the working folder of the driver to the path of every worker, before all libraries: a file of the
user's own called like one of them would take its place there, where nobody looks for it.
"""

from pathlib import Path
from sysconfig import get_paths

from ray.job_config import JobConfig

_HOME = Path(__file__).parents[2]


class OwnPath(JobConfig):
    """The settings of a job whose workers find what this process does, and nothing of its working folder."""

    def _serialize(self) -> str:
        # There is no public switch; where Ray has renamed it, the working folder is added, nothing worse.
        if not self._runtime_env_has_working_dir():  # type: ignore[no-untyped-call]
            installed = str(_HOME) in get_paths().values() or any(_HOME.glob("raytrain-*.dist-info"))
            self._py_driver_sys_path = [] if installed else [str(_HOME)]
        return super()._serialize()
