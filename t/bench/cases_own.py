"""What is measured of Corral alone: last words, a change, a pick, a full load.
Cases as cases.py describes them.
"""

import json
import statistics
import subprocess
import time

import proxies
from failure import Failure
from figures import Row, Verdict
from measure import (few, handshake_cpu, interleave, load_cpu, peers,
                     ratios)
from registry import Registry
from rig import (Counter, Proxy, Turns, callgrind_total, handshake, program,
                 wait_for)


# The last words of an agent

def case_lastwords(rig, opt):
    size, clients = 4000000, 5
    agent = rig.agent('--send-and-close', str(size), '--no-close-frame')
    running = peers(rig, opt, agent)
    direct = Proxy('direct', running[0].process, agent, '/')
    samples = {}
    lost = {}

    for p in [direct] + running:
        got = []
        for _ in range(few(opt, 2)):
            got += rig.run_load('slow', p, connections=clients,
                                rate=2500000)['received']
        samples[p.name] = [100 - 100 * x / size for x in got]
        lost[p.name] = len([x for x in got if x != size])

    for p in running:
        rig.stop(p)

    rows = [Row('lastwords', n, 'per cent of 4 MB that were lost', s,
                incomplete=lost[n], of=len(s)) for n, s in samples.items()]
    if lost['direct']:
        raise Failure('lastwords: without a proxy bytes were lost, too: the '
                      'machine is too slow for this measurement')
    return rows, [Verdict('lastwords', 'last words that were not whole',
                          [lost[n]], 0, 'of 10') for n in lost
                  if n == 'corral']


# Messages that may have to be sent again

def case_replay(rig, opt):
    """JSON-RPC of 128 bytes with failover: replay, beside the plain relay."""
    agent = rig.agent('--rpc')
    begin = {'plain': None,
             'replay': {'failover': 'replay', 'answer': 'jsonrpc'}}
    running = []
    for name, fields in begin.items():
        running.append(proxies.corral(rig, [agent], fields=fields))
        running[-1].name = name

    samples, rows = load_cpu(rig, 'echo', running, opt.rounds, 'replay',
                             'us of CPU a round trip', connections=100,
                             size=128, seconds=opt.seconds, rpc=True)
    for p in running:
        rig.stop(p)

    n = 20 * 200
    for name, fields in begin.items():
        one, _ = rig.instructions(
            lambda **w: proxies.corral(rig, [agent], redis=False,
                                       fields=fields, **w),
            lambda p, k: rig.run_load('echo', p, connections=20, size=128,
                                      count=200 * k, rpc=True), n)
        rows.append(Row('replay-instructions', name,
                        'user instructions a round trip', [one]))
    return rows, [Verdict('replay', 'replay: CPU of a message, of the plain '
                          'relay', ratios(samples, 'replay', 'plain'), 1.3,
                          'x')]


# A change

def case_change(rig, opt):
    """The one instance of a service moves from one agent to another."""
    agents = [Counter(), Counter()]
    registry = rig.registry()
    workers = 2
    p = proxies.corral(rig, registry=registry, workers=workers, docs=[
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
             Verdict('change-worst', 'the slowest of them, the first of a '
                     'gateway that has just begun', [max(live)], 50, 'ms'),
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
    running = []
    for n in (10, 10000):
        running.append(proxies.corral(rig, docs=[Registry.service('echo')] + [
            Registry.instance(k, 'echo', agent) for k in range(n)]))
        running[-1].name = f'handshake among {n}'

    samples = interleave(running, opt.rounds, lambda p: handshake_cpu(
        rig, opt, p))
    names = [p.name for p in running]
    for p in running:
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

    for _ in range(few(opt, 5)):
        registry = rig.registry()
        p = proxies.corral(rig, registry=registry, docs=small, turns=turns.path)

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
