"""Every optimizer on every scenario; see `campaign.py` for what is run, and `--help` for the options.

python benchmarks/attunement.py --seeds 20 --first-seed 1000 --workers 2 --plots docs/figures
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where this file would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.campaign import main

if __name__ == "__main__":
    main()
