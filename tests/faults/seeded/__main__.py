"""Puts one mistake into this process, then runs the operator as its command does."""

import sys

from scaleset.__main__ import main
from tests.faults.seeded.bugs import BUGS

bug = sys.argv.pop(1)
BUGS[bug]()
main()
