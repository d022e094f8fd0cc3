"""What is measured.  CASES, at the end, is the list; each case takes the rig
and the options and returns (rows, verdicts).

A row is one proxy's figure with all its samples; a verdict is one target.
"""

import json
import statistics
import subprocess
import time

from figures import Row, Verdict
from rig import (Counter, Failure, Registry, Turns, handshake, private_kb,
                 program, wait_for, callgrind_total)


def peers(rig, agent):
    return [rig.stock(agent), rig.stock(agent, tuned=True),
            rig.haproxy(agent), rig.corral(agent)]


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


# CPU per message

def messages(rig, opt, case, connections, size):
    agent = rig.agent('--threads', '1')
    proxies = peers(rig, agent)
    details = {p.name: [] for p in proxies}

    def measure(p):
        got = rig.run_load('echo', p, connections=connections, size=size,
                           seconds=opt.seconds)
        if got['done'] == 0:
            raise Failure(f'{p.name}: no message in {opt.seconds} s')
        details[p.name].append(got)
        return got['cpu'] / got['done'] * 1e6

    samples = interleave(proxies, opt.rounds, measure)
    rows = []

    for p in proxies:
        d = details[p.name]
        done = sum(x['done'] for x in d)
        ticks = sum(x['user'] + x['system'] for x in d) or 1
        rows.append(Row(
            case, p.name, 'us of CPU a round trip', samples[p.name],
            user_part=sum(x['user'] for x in d) / ticks,
            messages=done,
            p50_us=statistics.median(x['p50_us'] for x in d),
            p99_us=statistics.median(x['p99_us'] for x in d)))

    for p in proxies:
        rig.stop(p)
    return samples, rows


def case_128b(rig, opt):
    samples, rows = messages(rig, opt, '128b', 100, 128)
    return rows, [Verdict('128b', '128 B x 100: CPU a message, of stock nginx',
                          ratios(samples, 'corral', 'stock'), 1.05, 'x')]


def case_16k(rig, opt):
    samples, rows = messages(rig, opt, '16k', 200, 16384)
    return rows, [
        Verdict('16k', '16 kB x 200: CPU a message, of stock nginx',
                ratios(samples, 'corral', 'stock'), 0.42, 'x'),
        Verdict('16k-tuned', '16 kB x 200: the same, of nginx with 64k buffers',
                ratios(samples, 'corral', 'tuned'), 1.1, 'x')]


# Memory

def case_idle(rig, opt):
    """Fresh processes each time: after churn, holes in the heap are reused."""
    agent = rig.agent()
    begin = {'stock': lambda: rig.stock(agent),
             'tuned': lambda: rig.stock(agent, tuned=True),
             'haproxy': lambda: rig.haproxy(agent),
             'corral': lambda: rig.corral(agent)}
    samples = {name: [] for name in begin}
    pairs = opt.pairs

    for _ in range(min(opt.rounds, 3)):
        for name, start in begin.items():
            p = start()
            handshake(p)
            time.sleep(1.5)             # the first lease and list are out
            before = private_kb(p.pid)
            load = rig.start('idle', rig.load('idle', p, connections=pairs),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            line = load.stdout.readline()
            if b'open' not in line:
                raise Failure(f'{name}: {open(load.log).read().strip()}')
            time.sleep(2.5)             # they stand in the list, too
            samples[name].append((private_kb(p.pid) - before) / pairs)
            load.stdin.close()
            load.wait()
            rig.processes.remove(load)
            load.stdout.close()
            rig.stop(p)

    rows = [Row('idle', n, f'kB private a pair, of {pairs}', s)
            for n, s in samples.items()]
    return rows, [Verdict('idle', 'idle WebSocket: private memory',
                          samples['corral'], 2.0, 'kB')]


# Instructions, which a busy machine does not change

def case_instructions(rig, opt):
    agent = rig.agent()
    connections, n = 20, 1000

    def use(p, k):
        rig.run_load('echo', p, connections=connections, size=128, count=k)

    begin = {'stock': lambda **w: rig.stock(agent, **w),
             'corral': lambda **w: rig.corral(agent, redis=False, **w)}
    samples = {name: [] for name in begin}

    for _ in range(min(opt.rounds, 3)):
        for name, start in begin.items():
            samples[name].append(rig.instructions(start, use, n)
                                 / connections)

    rows = [Row('instructions', name, 'user instructions a round trip', s)
            for name, s in samples.items()]
    return rows, [Verdict('instructions',
                          'user instructions a round trip, of stock nginx',
                          ratios(samples, 'corral', 'stock'), 0.7, 'x')]


# The last words of an agent

def case_lastwords(rig, opt):
    size, clients = 4000000, 5
    agent = rig.agent('--send-and-close', str(size), '--no-close-frame')
    proxies = peers(rig, agent)
    direct = type(proxies[0])('direct', proxies[0].process, agent, '/')
    samples = {}
    lost = {}

    for p in [direct] + proxies:
        got = []
        for _ in range(min(opt.rounds, 2)):
            got += rig.run_load('slow', p, connections=clients,
                                rate=2500000)['received']
        samples[p.name] = [100 * x / size for x in got]
        lost[p.name] = len([x for x in got if x != size])

    for p in proxies:
        rig.stop(p)

    rows = [Row('lastwords', n, 'per cent of 4 MB that came', s,
                incomplete=lost[n], of=len(s)) for n, s in samples.items()]
    if lost['direct']:
        raise Failure('lastwords: without a proxy bytes were lost, too: the '
                      'machine is too slow for this measurement')
    return rows, [Verdict('lastwords', 'last words that were not whole',
                          [lost['corral']], 0, 'of 10')]


# Handshakes

def handshake_cpu(rig, opt, p, **more):
    got = rig.run_load('rate', p, connections=20, seconds=opt.seconds, **more)
    if got['done'] == 0:
        raise Failure(f'{p.name}: no handshake in {opt.seconds} s')
    return got['cpu'] / got['done'] * 1e6


def case_handshake(rig, opt):
    agent = rig.agent()
    proxies = [rig.stock(agent), rig.haproxy(agent), rig.corral(agent)]
    rows, verdicts = [], []

    for way, more in (('close', {}), ('fin', {'fin': True})):
        samples = interleave(proxies, opt.rounds, lambda p: handshake_cpu(
            rig, opt, p, **more))
        rows += [Row(f'handshake-{way}', p.name, 'us of CPU a connection',
                     samples[p.name]) for p in proxies]
        text = {'close': 'connect, 101, Close, end',
                'fin': 'connect, 101, FIN'}[way]
        verdicts.append(Verdict(f'handshake-{way}',
                                f'{text}: CPU, of stock nginx',
                                ratios(samples, 'corral', 'stock'), 1.15, 'x'))

    for p in proxies:
        rig.stop(p)
    return rows, verdicts


# A change

def case_change(rig, opt):
    """The one instance of a service moves from one agent to another."""
    agents = [Counter(), Counter()]
    registry = rig.registry()
    workers = 2
    p = rig.corral(registry=registry, workers=workers, docs=[
        Registry.service('echo'),
        Registry.instance(1, 'echo', agents[0].port)])
    acks = Registry(registry.path, registry.cluster).redis
    key = registry.prefix + 'acks'
    live, wrong = [], 0

    for n in range(1, max(20, 3 * opt.rounds) + 1):
        last = acks('XREVRANGE', key, '+', '-', 'COUNT', 1)[0][0]
        to = agents[n % 2]
        begin = time.monotonic()
        revision = registry.commit([Registry.instance(
            1, 'echo', to.port, incarnation=n + 1)])
        seen = set()

        while len(seen) < workers:
            got = acks('XREAD', 'BLOCK', 5000, 'STREAMS', key, last)
            if got is None:
                raise Failure(f'revision {revision}: not live within 5 s')
            for last, flat in got[0][1]:
                entry = dict(zip(flat[::2], flat[1::2]))
                if int(entry['revision']) >= revision:
                    seen.add(entry['worker'])

        live.append((time.monotonic() - begin) * 1000)

        # an acknowledgement must be true: who is asked now serves the new one

        before = [a.handshakes for a in agents]
        for _ in range(6):
            handshake(p)
        wrong += agents[(n + 1) % 2].handshakes - before[(n + 1) % 2]
        if to.handshakes - before[n % 2] == 0:
            raise Failure('change: the new instance was not asked')

    rig.stop(p)
    return ([Row('change', 'corral', 'ms to the last worker\'s '
                 'acknowledgement', live, worst=max(live))],
            [Verdict('change', 'registry change live on all workers', live, 50,
                     'ms'),
             Verdict('change-true', 'requests served by the old instance after '
                     'it', [wrong], 0, '')])


# A pick

def case_pick(rig, opt):
    """Instructions of a pick alone, and of a whole handshake."""
    rows, verdicts = [], []
    bench = program('balance_bench')

    def total(*args):
        out, wrapper = rig.callgrind_wrapper()
        subprocess.run(wrapper + [bench, *map(str, args)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return callgrind_total(out)

    def pick(method, instances, down):
        n = 2000
        empty = total('empty', instances, down, 2 * n) \
            - total('empty', instances, down, n)
        return (total(method, instances, down, 2 * n)
                - total(method, instances, down, n) - empty) / n

    worst = []
    for method in ('round_robin', 'random', 'least_conn', 'hash'):
        for down in (0, 50):
            few, many = pick(method, 10, down), pick(method, 10000, down)
            rows.append(Row('pick', f'{method}, {down} % down',
                            'instructions among 10,000', [many], among_10=few))
            worst.append(many / few)
            verdicts.append(Verdict(
                f'pick-{method}-{down}', f'{method}, {down} % down: a pick '
                'among 10,000, of one among 10', [many / few], 2.0, 'x'))

    agent = rig.agent()
    proxies = []
    for n in (10, 10000):
        proxies.append(rig.corral(docs=[Registry.service('echo')] + [
            Registry.instance(k, 'echo', agent) for k in range(n)]))
        proxies[-1].name = f'handshake among {n}'

    samples = interleave(proxies, opt.rounds, lambda p: handshake_cpu(
        rig, opt, p))
    names = [p.name for p in proxies]
    for p in proxies:
        rows.append(Row('pick', p.name, 'us of CPU', samples[p.name]))
        rig.stop(p)
    verdicts.append(Verdict('pick-handshake', 'a handshake among 10,000, of '
                            'one among 10', ratios(samples, names[1],
                                                   names[0]), 2.0, 'x'))
    return rows, verdicts


# A full load

def case_stall(rig, opt):
    """The longest turn of the event loop during a full load, as CPU time of
    the worker; and what a client sees that sends a message each ms."""
    agent = rig.agent()
    small = [Registry.service('echo'), Registry.instance(1, 'echo', agent)]
    big = [Registry.service(f's{k}') for k in range(1000)]
    big += [Registry.instance(k, f's{k % 1000}', agent) for k in range(10000)]
    turns = Turns(rig)
    got = {'quiet': [], 'load': []}
    seen = {'quiet': [], 'load': []}
    walls = {'quiet': [], 'load': []}
    over = []

    for _ in range(min(opt.rounds, 5)):
        registry = rig.registry()
        p = rig.corral(registry=registry, docs=small, turns=turns.path)

        for what in ('quiet', 'load'):
            probe = rig.start('probe', rig.load('probe', p, seconds=5,
                                                warmup=0.5),
                              stdout=subprocess.PIPE)
            time.sleep(0.8)
            turns.reset(p.pid)
            if what == 'load':
                registry.fill(big, 'second')
                wait_for('the full load', lambda: registry_of(registry)
                         == len(big) + len(small) - 1001, 20)
            out, _ = probe.communicate()
            rig.processes.remove(probe)
            if probe.returncode != 0:
                raise Failure(f'probe: {open(probe.log).read().strip()}')
            record = turns.read(p.pid)
            got[what].append(record['cpu_ms'])
            walls[what].append(record['wall_ms'])
            seen[what].append(json.loads(out)['max_us'] / 1000)
            if what == 'load':
                over.append(record['over_1ms'])
        rig.stop(p)

    rows = []
    for what, text in (('quiet', 'nothing changes'),
                       ('load', '1,000 services, 10,000 instances')):
        rows.append(Row('stall', f'{text}: turn, CPU', 'ms, the longest',
                        got[what], worst=max(got[what])))
        rows.append(Row('stall', f'{text}: turn, wall', 'ms, the longest',
                        walls[what]))
        rows.append(Row('stall', f'{text}: probe', 'ms, the longest',
                        seen[what]))
    rows[3].more['turns_over_1ms'] = statistics.median(over)
    return rows, [Verdict('stall', 'longest turn during a full load',
                          got['load'], 5.0, 'ms CPU')]


def registry_of(registry):
    leases = registry.leases()
    return int(leases[0].get('instances', 0)) if leases else 0


CASES = {
    '128b': case_128b,
    '16k': case_16k,
    'handshake': case_handshake,
    'idle': case_idle,
    'instructions': case_instructions,
    'lastwords': case_lastwords,
    'change': case_change,
    'pick': case_pick,
    'stall': case_stall,
}
