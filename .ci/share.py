"""Links a package of this environment, and all that it needs, into another one that is empty: `python share.py PACKAGE ENVIRONMENT`."""

import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

package, environment = sys.argv[1:]
here = Path(sysconfig.get_path("purelib"))
there = Path(sysconfig.get_path("purelib", vars={"base": environment}))
asked = [package]
for text in asked:  # it gets longer on the way
    requirement = Requirement(text)
    found = distribution(requirement.name)
    for extra in requirement.extras or {""}:
        for line in found.requires or ():
            marker = Requirement(line).marker
            if line not in asked and (marker is None or marker.evaluate({"extra": extra})):
                asked.append(line)
    for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        if not (there / name).exists():
            (there / name).symlink_to(here / name)
