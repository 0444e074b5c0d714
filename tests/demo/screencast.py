# SPDX-License-Identifier: MIT
"""
A terminal's screen over time, and an SVG that plays it.

Screencast runs a program in a terminal of its own and keeps what the screen looked like whenever it changed. write_svg() makes of that one
text file: each distinct row of the screen once, each screen as references to rows, all screens side by side on a strip that a CSS animation
moves along. Where nothing moves (reduced motion, a viewer without CSS) the last screen is shown. Needs python3-pyte.
"""

import fcntl
import html
import os
import pty
import selectors
import struct
import subprocess
import termios
import time

import pyte

CELL_W, CELL_H, MARGIN, BAR = 8.4, 19, 14, 30
BACKGROUND, FOREGROUND = "#0d1117", "#d6dde4"
COLORS = {"black": "#484f58", "red": "#ff7b72", "green": "#3fb950", "brown": "#d29922", "yellow": "#d29922", "blue": "#58a6ff",
          "magenta": "#bc8cff", "cyan": "#39c5cf", "white": "#b1bac4", "brightblack": "#6e7681", "brightred": "#ffa198",
          "brightgreen": "#56d364", "brightbrown": "#e3b341", "brightyellow": "#e3b341", "brightblue": "#79c0ff", "brightmagenta": "#d2a8ff",
          "bfightmagenta": "#d2a8ff", "brightcyan": "#56d4dd", "brightwhite": "#f0f6fc"}
FRAME_S = 0.1  # no two screens are closer than that


class Screencast:
    def __init__(self, command, columns, rows, environment, directory):
        self.columns, self.rows = columns, rows
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.frames = []  # (seconds, rows)
        self._began = time.monotonic()
        self._skipped = 0.0  # time that is cut out
        primary, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(command, stdin=secondary, stdout=secondary, stderr=secondary, env=environment, cwd=directory,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(secondary)
        self._fd = primary
        self._selector = selectors.DefaultSelector()
        self._selector.register(primary, selectors.EVENT_READ)

    def now(self):
        return time.monotonic() - self._began - self._skipped

    def text(self):
        return "\n".join(self.screen.display)

    def watch(self, seconds, until=lambda: False):
        """Follows what happens; true when `until` came about."""
        deadline = time.monotonic() + seconds
        while not until():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._selector.select(min(left, FRAME_S)):
                try:
                    self._stream.feed(os.read(self._fd, 65536))
                except OSError:  # it has ended
                    return until()
            self._keep()
        self._keep()
        return True

    def cut(self, seconds, until=lambda: False):
        """The same, but the film does not show that it took time."""
        began = time.monotonic()
        reached = self.watch(seconds, until)
        self._skipped += time.monotonic() - began
        return reached

    def start_over(self):
        """The film begins here."""
        self.frames.clear()
        self._began, self._skipped = time.monotonic(), 0.0
        self._keep()

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        os.close(self._fd)

    def _row(self, y):
        """[(column, text, style)] of what is there."""
        cells = self.screen.buffer[y]
        cursor = self.screen.cursor
        runs = []
        for x in range(self.columns):
            cell = cells[x]
            fg, bg = cell.fg, cell.bg
            is_reverse = cell.reverse
            if cursor.y == y and cursor.x == x and not cursor.hidden:
                is_reverse = not is_reverse
            if is_reverse:
                fg, bg = (bg if bg != "default" else "background"), (fg if fg != "default" else "foreground")
            style = (fg, bg, cell.bold, cell.underscore)
            if runs and runs[-1][2] == style:
                runs[-1][1] += cell.data
            else:
                runs.append([x, cell.data, style])
        return tuple((x, data, style) for x, data, style in runs if data.strip() or style[1] != "default")

    def _keep(self):
        now = self.now()
        if self.frames and now - self.frames[-1][0] < FRAME_S:
            return
        rows = tuple(self._row(y) for y in range(self.rows))
        if not self.frames or rows != self.frames[-1][1]:
            self.frames.append((now, rows))


def color_of(name, default):
    if name == "default":
        return default
    if name in ("background", "foreground"):
        return BACKGROUND if name == "background" else FOREGROUND
    return COLORS.get(name, "#" + name)


def row_svg(row):
    """Without its place. textLength holds columns together whatever the font."""
    parts = []
    for x, text, (fg, bg, is_bold, is_underlined) in row:
        if bg != "default":
            parts.append(f'<rect x="{x * CELL_W:.1f}" y="-14" width="{len(text) * CELL_W:.1f}" height="{CELL_H}" fill="{color_of(bg, BACKGROUND)}"/>')
        shown = text.rstrip()
        lead = len(shown) - len(shown.lstrip())
        shown = shown.lstrip()
        if not shown:
            continue
        style = "" if fg == "default" else f' fill="{color_of(fg, FOREGROUND)}"'
        style += ' font-weight="bold"' if is_bold else ""
        style += ' text-decoration="underline"' if is_underlined else ""
        parts.append(f'<text x="{(x + lead) * CELL_W:.1f}" textLength="{len(shown) * CELL_W:.1f}"{style}>{html.escape(shown, quote=False)}</text>')
    return "".join(parts)


def write_svg(path, frames, columns, rows, title, end_s=4.0):
    """`frames`: of a Screencast; `end_s`: how long the last one stays before it all begins again."""
    width, height = round(columns * CELL_W + 2 * MARGIN), rows * CELL_H + MARGIN + BAR
    total = frames[-1][0] + end_s
    names, symbols, screens = {}, [], []
    for index, (_, screen) in enumerate(frames):
        uses = []
        for y, row in enumerate(screen):
            if not row:
                continue
            drawn = row_svg(row)
            if drawn not in names:
                names[drawn] = f"r{len(names)}"
                symbols.append(f'<g id="{names[drawn]}">{drawn}</g>')
            uses.append(f'<use href="#{names[drawn]}" y="{y * CELL_H + 14}"/>')
        screens.append(f'<g transform="translate({index * width})">{"".join(uses)}</g>')
    steps = "".join(f"{100 * at / total:.2f}%{{transform:translateX({-index * width}px)}}" for index, (at, _) in enumerate(frames))
    last = -(len(frames) - 1) * width
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
#strip{{transform:translateX({last}px);animation:play {total:.1f}s step-end infinite}}
@keyframes play{{{steps}}}
@media (prefers-reduced-motion){{#strip{{animation:none}}}}
</style>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}" stroke="#30363d"/>
<circle cx="18" cy="15" r="5" fill="#ff5f57"/><circle cx="36" cy="15" r="5" fill="#febc2e"/><circle cx="54" cy="15" r="5" fill="#28c840"/>
<defs>
{chr(10).join(symbols)}
</defs>
<svg x="{MARGIN}" y="{BAR}" width="{width - 2 * MARGIN}" height="{rows * CELL_H + 2}"><g id="strip" fill="{FOREGROUND}">
{chr(10).join(screens)}
</g></svg>
</svg>
""")
