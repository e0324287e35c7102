"""Packages of npm whose files a page loads: found beside the work, named, or fetched."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory


class NoPackage(ImportError):
    """A package of npm is not at hand. The message has the command that brings it."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of npm.

    Args:
        name: of it.
        version: that the page was tried with.
        option: of the command line that names a folder or .tgz of it.
        files: that the page loads, inside the package.
    """

    name: str
    version: str
    option: str
    files: tuple[str, ...]

    def copy(self, folder: Path, source: str | PathLike[str] | None = None) -> None:
        """Copy the files that the page loads into a folder, which is made where there is none.

        Args:
            folder: for the files.
            source: the package, as a folder or .tgz; where None, it is looked for in `node_modules` here and above, and else
                asked of npm.

        Raises:
            NoPackage: there is no such package.
        """
        with TemporaryDirectory() as scratch:
            package = self._folder(Path(scratch), None if source is None else Path(fspath(source)))
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.files:
                try:
                    shutil.copyfile(package / name, folder / Path(name).name)
                except FileNotFoundError:
                    raise NoPackage(f"{package}: is no package {self.name}, as {name} is missing") from None

    def _folder(self, scratch: Path, source: Path | None) -> Path:
        """The folder of the package."""
        if source is None:
            here = Path.cwd()
            for folder in (here, *here.parents):
                if (folder / "node_modules" / self.name).is_dir():
                    return folder / "node_modules" / self.name
            source = self._fetched(scratch)
        if source.is_dir():
            return source
        try:
            with tarfile.open(source) as packed:
                packed.extractall(scratch / "unpacked", filter="data")
        except (OSError, tarfile.TarError) as error:
            raise NoPackage(
                f"{source}: is no package {self.name} ({error}); `npm pack {self.name}@{self.version}` fetches it"
            ) from None
        return scratch / "unpacked" / "package"

    def _fetched(self, scratch: Path) -> Path:
        """The package, from npm."""
        remedy = (
            f"`npm pack {self.name}@{self.version}` where there is a network, then {self.option} {self.name}-{self.version}.tgz"
        )
        npm = shutil.which("npm")
        if npm is None:
            raise NoPackage(f"the page needs the npm package {self.name}, and there is no npm here: {remedy}")
        done = subprocess.run(
            [npm, "pack", f"{self.name}@{self.version}"], cwd=scratch, capture_output=True, text=True, check=False
        )
        files = list(scratch.glob("*.tgz"))
        if done.returncode or not files:
            raise NoPackage(f"npm could not fetch {self.name}@{self.version}: {remedy}")
        return files[0]
