"""Samples, their medians and intervals, and the table of them."""

import random
import statistics

TOLERANCE = 1.03


def interval(samples):
    """95 per cent of the medians of 4,000 resamples; the same each time."""
    if len(samples) < 3:
        return min(samples), max(samples)
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(samples, k=len(samples)))
                     for _ in range(4000))
    return medians[100], medians[3899]


class Row:
    def __init__(self, case, subject, unit, samples, **more):
        self.case = case
        self.subject = subject
        self.unit = unit
        self.samples = samples
        self.more = more

    def as_dict(self):
        low, high = interval(self.samples)
        return {'case': self.case, 'subject': self.subject, 'unit': self.unit,
                'median': statistics.median(self.samples), 'low': low,
                'high': high, 'samples': self.samples, **self.more}

    def as_text(self):
        low, high = interval(self.samples)
        more = ', '.join(f'{k} {number(v)}' for k, v in self.more.items())
        return (f'{self.case:15} {self.subject:34} '
                f'{number(statistics.median(self.samples)):>8} '
                f'[{number(low)} - {number(high)}] {self.unit}'
                + (f' ({more})' if more else ''))


class Verdict:
    """One target: the upper end of the interval, less 3 per cent, must not
    exceed the limit."""

    def __init__(self, name, text, samples, limit, unit):
        self.name = name
        self.text = text
        self.limit = limit
        self.unit = unit
        self.samples = samples
        self.median = statistics.median(samples)
        self.low, self.high = interval(samples)

    @property
    def word(self):
        if self.high <= self.limit:
            return 'holds'
        if self.high <= self.limit * TOLERANCE:
            return 'holds within 3 %'
        if self.median <= self.limit:
            return 'NOT SHOWN'      # the median holds, the interval is wide
        return 'MISSED'

    @property
    def ok(self):
        return self.high <= self.limit * TOLERANCE

    def as_dict(self):
        return {'target': self.name, 'text': self.text, 'limit': self.limit,
                'unit': self.unit, 'median': self.median, 'low': self.low,
                'high': self.high, 'samples': self.samples,
                'verdict': self.word}

    def as_text(self):
        return (f'{self.text:58} {number(self.median):>7} '
                f'[{number(self.low)} - {number(self.high)}]  <= '
                f'{number(self.limit)} {self.unit}: {self.word}')


def side_by_side(rows, names):
    """Lines: one figure a line, one proxy a column."""
    found = {}
    for row in rows:
        if row['subject'] in names:
            found.setdefault((row['case'], row['unit']), {})[
                row['subject']] = number(row['median'])
    names = [n for n in names if any(n in x for x in found.values())]
    lines = [f"{'':17}" + ''.join(f'{n:>9}' for n in names)]
    for (case, unit), of in found.items():
        lines.append(f'{case:17}' + ''.join(f"{of.get(n, '-'):>9}"
                                            for n in names) + f'  {unit}')
    return lines


def number(x):
    if isinstance(x, int) or abs(x) >= 1000:
        return f'{x:,.0f}'
    if abs(x) >= 100:
        return f'{x:.1f}'
    return f'{x:.3g}' if abs(x) < 1 else f'{x:.2f}'
