"""The chart: for each row two bars, libcr against native, for throughput and for CPU time."""
from xml.sax.saxutils import escape

ROW, LEFT, WIDTH, GAP, TOP = 34, 250, 330, 60, 70
NATIVE, LIBCR, TEXT, FAINT = "#9aa5b1", "#2f6fab", "#222", "#ccc"


def text(x, y, content, anchor="start", size=12, color=TEXT, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def bar(x, y, length, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(length, 0.5):.1f}" height="11" fill="{color}"/>'


def panel(rows, x, title, native_of, libcr_of):
    """Bars in units of the native value, so that requests and megabytes go side by side."""
    ratios = [libcr_of(row) / native_of(row) for row in rows if native_of(row) and libcr_of(row)]
    scale = WIDTH / max([1.25, *ratios]) / 1.15
    out = [text(x, TOP - 26, title, size=13, weight="bold")]
    bottom = TOP + ROW * len(rows)
    out.append(f'<line x1="{x + scale:.1f}" y1="{TOP - 14}" x2="{x + scale:.1f}" y2="{bottom}" '
               f'stroke="{FAINT}" stroke-dasharray="3 3"/>')
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        native, libcr = native_of(row), libcr_of(row)
        if not native or not libcr:
            out.append(text(x + 4, y + 16, row.get("failed") or "not measured", color="#a33", size=11))
            continue
        out += [bar(x, y, scale, NATIVE), bar(x, y + 12, scale * libcr / native, LIBCR)]
        out.append(text(x + scale * libcr / native + 5, y + 22, f"{libcr / native:.2f}", size=11))
    return out


def svg(rows, subtitle):
    """rows: dicts with title, and throughput and cpu as [native, libcr] or None."""
    def pick(field, side):
        return lambda row: row[field][side] if row.get(field) else None
    height = TOP + ROW * len(rows) + 40
    width = LEFT + 2 * WIDTH + GAP + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           text(12, 22, "Unmodified servers, native and on libcr", size=15, weight="bold"),
           bar(width - 190, 12, 22, NATIVE), text(width - 162, 22, "native = 1"),
           bar(width - 90, 12, 22, LIBCR), text(width - 62, 22, "libcr")]
    for number, row in enumerate(rows):
        out.append(text(LEFT - 12, TOP + ROW * number + 16, row["title"], anchor="end"))
    out += panel(rows, LEFT, "throughput (longer is better)", pick("throughput", 0), pick("throughput", 1))
    out += panel(rows, LEFT + WIDTH + GAP, "server CPU time for a request (shorter is better)",
                 pick("cpu", 0), pick("cpu", 1))
    out += [text(12, height - 14, subtitle, size=11, color="#666"), "</svg>"]
    return "\n".join(out) + "\n"
