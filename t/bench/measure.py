"""How the cases measure: peers side by side, round by round."""

import statistics

from failure import Failure
from figures import Row, Verdict
from proxies import PEERS


def few(opt, n):
    """Rounds of what is slow, or does not vary."""
    return min(opt.rounds, n)


def peers(rig, opt, agent, tls=False):
    """Starts the proxies that were asked for."""
    return [PEERS[name].start(rig, [agent], tls=tls) for name in opt.peers
            if not PEERS[name].idle and (PEERS[name].tls or not tls)]


def interleave(proxies, rounds, measure):
    """{name: [sample of each round]}, in an order that rotates."""
    samples = {p.name: [] for p in proxies}
    for r in range(rounds):
        for k in range(len(proxies)):
            p = proxies[(r + k) % len(proxies)]
            samples[p.name].append(measure(p))
    return samples


def ratios(samples, ours, theirs):
    """Round by round: what disturbs one round disturbs both."""
    return [a / b for a, b in zip(samples[ours], samples[theirs])]


def against(samples, peer, name, text, limit):
    """The verdict on Corral beside a peer; none if one was not measured."""
    if 'corral' not in samples or peer not in samples:
        return []
    return [Verdict(name, f'{text}, of {PEERS[peer].text}',
                    ratios(samples, 'corral', peer), limit, 'x')]


def own(samples, name, text, limit, unit):
    if 'corral' not in samples:
        return []
    return [Verdict(name, text, samples['corral'], limit, unit)]


def load_cpu(rig, mode, running, rounds, case, unit, **options):
    """Microseconds of CPU of one thing done, for each proxy and round."""
    details = {p.name: [] for p in running}

    def measure(p):
        got = rig.run_load(mode, p, **options)
        if got['done'] == 0:
            raise Failure(f'{p.name}: nothing done in {got["seconds"]} s')
        details[p.name].append(got)
        return got['cpu'] / got['done'] * 1e6

    samples = interleave(running, rounds, measure)
    rows = []

    for p in running:
        d = details[p.name]
        ticks = sum(x['user'] + x['system'] for x in d) or 1
        rows.append(Row(
            case, p.name, unit, samples[p.name],
            user_part=sum(x['user'] for x in d) / ticks,
            per_second=statistics.median(x['done'] / x['seconds'] for x in d),
            p50_us=statistics.median(x['p50_us'] for x in d),
            p99_us=statistics.median(x['p99_us'] for x in d)))
    return samples, rows


def handshake_cpu(rig, opt, p, **more):
    got = rig.run_load('rate', p, connections=20, seconds=opt.seconds, **more)
    if got['done'] == 0:
        raise Failure(f'{p.name}: no handshake in {opt.seconds} s')
    return got['cpu'] / got['done'] * 1e6
