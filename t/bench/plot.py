"""The picture of a report: SVG, one panel a figure, one bar a proxy, with its
interval.  Nothing is needed for it."""

from figures import number
from html import escape

COLOURS = {'corral': '#0b6e4f', 'floor': '#9aa0a6'}
OTHER = '#8fb3d9'

WIDTH, GAP, TOP = 480, 28, 64           # of a panel; between; above all
NAME, VALUE = 76, 140                   # left and right of the bars
BAR, STEP, HEAD = 13, 19, 40


def panels(rows, names):
    """[(title, [row of each proxy])] of what at least two were measured in."""
    found = {}
    for row in rows:
        if row['subject'] in names:
            found.setdefault((row['case'], row['unit']), []).append(row)
    return [(f'{case}: {unit}', some) for (case, unit), some in found.items()
            if len(some) > 1]


def text(x, y, what, size=12, anchor='start', more=''):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
            f'text-anchor="{anchor}"{more}>{escape(what)}</text>')


def panel(x, y, title, rows):
    out = [text(x, y + 16, title, 13, more=' font-weight="bold"')]
    left = x + NAME
    room = WIDTH - NAME - VALUE
    top = max(max(r['high'], r['median'], 0) for r in rows) or 1

    # one that is far beyond the others would hide them: it is cut, and marked

    usual = sorted(max(r['high'], r['median'], 0) for r in rows)[len(rows) // 2]
    cut = usual > 0 and top > 6 * usual
    scale = room / (5 * usual if cut else top)

    for k, r in enumerate(rows):
        at = y + HEAD - 12 + k * STEP
        colour = COLOURS.get(r['subject'], OTHER)
        length = min(max(r['median'], 0) * scale, room)
        low, high = (left + min(max(r[e], 0) * scale, room)
                     for e in ('low', 'high'))
        middle = at + BAR / 2
        out.append(text(left - 8, at + BAR - 2, r['subject'], 12, 'end'))
        out.append(f'<rect x="{left}" y="{at}" width="{length:.1f}" '
                   f'height="{BAR}" fill="{colour}"/>')
        out.append(f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} '
                   f'{at + 3}V{at + BAR - 3}M{high:.1f} {at + 3}V'
                   f'{at + BAR - 3}" stroke="#222" fill="none"/>')
        if length >= room and cut:
            out.append(text(left + room - 22, at + BAR - 2, '//', 12,
                            more=' font-weight="bold"'))
        out.append(text(left + room + 8, at + BAR - 2,
                        f"{number(r['median'])} [{number(r['low'])} - "
                        f"{number(r['high'])}]", 10.5))
    return out


def svg(report, names):
    some = panels(report['rows'], names)
    columns, y = [TOP, TOP], TOP
    body = []

    for title, rows in some:
        column = columns.index(min(columns))
        y = columns[column]
        body += panel(GAP + column * (WIDTH + GAP), y, title, rows)
        columns[column] = y + HEAD + len(rows) * STEP + 4

    width, height = 2 * WIDTH + 3 * GAP, max(columns) + 10
    machine = report['machine']
    head = [text(GAP, 26, 'Corral and other proxies', 18,
                 more=' font-weight="bold"'),
            text(GAP, 46, f"{machine['cpu']}, {machine['cores']} cores, "
                 f"{machine['date']}; medians of {report['rounds']} rounds or "
                 'fewer with 95 % intervals; less is better', 12)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" '
            'fill="#222">\n'
            f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
            + '\n'.join(head + body) + '\n</svg>\n')
