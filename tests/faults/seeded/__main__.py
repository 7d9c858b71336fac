"""Puts one mistake into this process, or one variant, then runs the operator as its command does."""

import sys

from scaleset.__main__ import main
from tests.faults.seeded.bugs import BUGS
from tests.faults.seeded.variants import VARIANTS

(BUGS | VARIANTS)[sys.argv.pop(1)]()
main()
