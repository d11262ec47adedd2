"""`flambeau cache list|clear`: the compiled programs on disk."""

from __future__ import annotations

import argparse
import time

from flambeau.runtime import cache


def run(args: argparse.Namespace) -> None:
    """Shows the entries, newest last, or deletes them."""
    if cache.folder() is None:
        print("the cache is off (FLAMBEAU_CACHE=off)")
    elif args.action == "clear":
        count = cache.clear()
        print(f"deleted {count} {'entry' if count == 1 else 'entries'} from {cache.folder()}")
    else:
        show()


def show() -> None:
    """One line an entry: when it was made, its size, its name."""
    rows = []
    for path in cache.entries():
        try:
            stat = path.stat()
        except OSError:  # another process deleted it meanwhile
            continue
        rows.append((stat.st_mtime, stat.st_size, path.name))
    for made, size, name in sorted(rows):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made))
        print(f"{when} {size:>10,} {name}")
    print(f"{cache.folder()}: {len(rows)} entries, {sum(r[1] for r in rows):,} bytes")
