"""`brownie compile --all`, without looking for garbage: there is little, and a tenth of the time would go into that.

All contracts at once, since the compiler numbers what it is given, and gives other code for other numbers.
"""

from __future__ import annotations

import gc
import sys

from brownie._cli.__main__ import main

if __name__ == "__main__":
    gc.disable()
    sys.argv = ["brownie", "compile", "--all"]
    main()
