"""python -m bagnet"""

from .cli import main

main()
