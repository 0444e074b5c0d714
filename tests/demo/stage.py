# SPDX-License-Identifier: MIT
"""How the demo speaks: numbered steps, indented lines, tables."""


def step(title):
    step.number += 1
    print(f"\n{step.number}  {title}", flush=True)


step.number = 0


def act(title):
    print(f"\n{title}", flush=True)


def say(text=""):
    print(f"   {text}", flush=True)


def table(head, rows):
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        say("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def ms(seconds):
    return f"{1000 * seconds:.0f} ms" if seconds < 2 else f"{seconds:.1f} s"


def short(text, limit=48):
    return text if len(text) <= limit else text[:limit - 1] + "…"
