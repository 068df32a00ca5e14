"""Keep run.py and this file, which stand in the root beside the package's own files, out of the wheel.

All else that setuptools needs to know stands in pyproject.toml.
"""

from setuptools import setup
from setuptools.command.build_py import build_py

NOT_IN_THE_WHEEL = ("run", "setup")


class BuildPackage(build_py):
    """Finds the modules of the root, less those that are tools of the checkout."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of every module that belongs in the wheel."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] not in NOT_IN_THE_WHEEL]


setup(cmdclass={"build_py": BuildPackage})
