"""What is measured of all proxies, side by side.  Cases as cases.py describes
them.
"""

import re
import signal
import subprocess
import time

import proxies
from failure import Failure
from figures import Row, Verdict
from measure import against, few, interleave, load_cpu, own, peers
from proxies import PEERS
from rig import Proxy, cpu_seconds, handshake, private_kb, wait_for

ROUND_TRIP = 'us of CPU a round trip'


def stop_all(rig, running):
    for p in running:
        rig.stop(p)


# Messages

def messages(rig, opt, case, connections, size, rounds, seconds):
    agent = rig.agent()
    running = peers(rig, opt, agent)
    got = load_cpu(rig, 'echo', running, rounds, case, ROUND_TRIP,
                   connections=connections, size=size, seconds=seconds)
    stop_all(rig, running)
    return got


def case_128b(rig, opt):
    samples, rows = messages(rig, opt, '128b', 100, 128, opt.rounds,
                             opt.seconds)
    return rows, against(samples, 'stock', '128b',
                         '128 B x 100: CPU a message', 1.03)


def case_16k(rig, opt):
    samples, rows = messages(rig, opt, '16k', 200, 16384, opt.rounds,
                             opt.seconds)
    text = '16 kB x 200: CPU a message'
    return rows, (against(samples, 'stock', '16k', text, 0.38)
                  + against(samples, 'tuned', '16k-tuned', text, 1.05)
                  + against(samples, 'haproxy', '16k-haproxy', text, 0.6))


GRID = ((100, 64), (100, 1024), (20, 1 << 20),
        (1, 128), (1000, 128), (8000, 128))


def case_grid(rig, opt):
    """The other sizes and numbers of connections, in fewer rounds."""
    rows = []
    for connections, size in GRID:
        if opt.quick and connections > 1000:
            continue
        rows += messages(rig, opt, f'{size}x{connections}', connections, size,
                         few(opt, 3), opt.seconds)[1]
    return rows, []


def case_tls(rig, opt):
    """TLS on the clients' side: messages, and memory."""
    agent = rig.agent()
    running = peers(rig, opt, agent, tls=True)
    _, rows = load_cpu(rig, 'echo', running, few(opt, 5), 'tls-128b',
                       ROUND_TRIP, connections=100, size=128,
                       seconds=opt.seconds)
    stop_all(rig, running)
    return rows + idle(rig, opt, 'tls-idle', opt.pairs // 4, 1, True)[1], []


# HTTP

def case_json(rig, opt):
    agent = rig.agent()
    running = peers(rig, opt, agent)
    _, rows = load_cpu(rig, 'http', running, few(opt, 5), 'json',
                       'us of CPU a request, 1 kB', connections=50,
                       seconds=opt.seconds, tail='json')
    stop_all(rig, running)
    return rows, []


def case_sse(rig, opt):
    """100 streams with an event of 128 bytes each 10 ms."""
    agent = rig.agent('--event-interval', '10')
    running = peers(rig, opt, agent)
    _, rows = load_cpu(rig, 'sse', running, few(opt, 5), 'sse',
                       'us of CPU an event', connections=100,
                       seconds=opt.seconds, tail='sse')
    for row in rows:                    # there are no round trips
        del row.more['p50_us'], row.more['p99_us']
    stop_all(rig, running)
    return rows, []


# Handshakes

def case_handshake(rig, opt):
    agent = rig.agent()
    running = peers(rig, opt, agent)
    rows, verdicts = [], []

    for way, text, more in (
            ('close', 'connect, 101, Close, end', {}),
            ('fin', 'connect, 101, FIN', {'fin': True})):
        if way == 'fin':
            running = [p for p in running if p.name in ('stock', 'corral')]
        samples, some = load_cpu(
            rig, 'rate', running, opt.rounds, f'handshake-{way}',
            'us of CPU a connection', connections=20, seconds=opt.seconds,
            **more)
        rows += some
        verdicts += against(samples, 'stock', f'handshake-{way}',
                            f'{text}: CPU', 1.0)
        if way == 'close':
            every = running

    stop_all(rig, every)
    return rows, verdicts


# Latency

def case_latency(rig, opt):
    """2,000 messages a second over 100 connections: what a proxy adds.

    Whoever else wants the processor for some milliseconds makes a p99 of its
    own.  So rounds are short, and those of the two that are compared many:
    what is disturbed then are some of them.
    """
    agent = rig.agent()
    running = peers(rig, opt, agent)
    direct = Proxy('direct', running[0].process, agent, '/')
    figures = {p.name: {'p50_us': [], 'p99_us': []}
               for p in [direct] + running}

    def measure(p):
        got = rig.run_load('paced', p, connections=100, size=128, rate=2000,
                           seconds=opt.seconds / 2)
        if got['done'] == 0:
            raise Failure(f'{p.name}: no message in {opt.seconds} s')
        for k in figures[p.name]:
            figures[p.name][k].append(got[k])
        return got['p99_us']

    samples = interleave([direct] + running, opt.rounds, measure)
    more = interleave([p for p in [direct] + running
                       if p.name in ('direct', 'stock', 'corral')],
                      7 * opt.rounds, measure)
    samples = {name: s + more.get(name, []) for name, s in samples.items()}
    stop_all(rig, running)

    rows = [Row('latency', 'direct', 'us, p99 without a proxy',
                samples['direct'])]
    for k in ('p50_us', 'p99_us'):
        base = figures['direct'][k]
        rows += [Row(f'latency-{k[:3]}', p.name, f'us added to {k[:3]}',
                     [a - b for a, b in zip(figures[p.name][k], base)])
                 for p in running]
    return rows, against(samples, 'stock', 'latency', 'p99 of a message', 1.0)


# Memory

def idle(rig, opt, case, pairs, rounds, tls):
    """Fresh processes each time: after churn, holes in the heap are reused."""
    agent = rig.agent()
    names = [n for n in opt.peers if PEERS[n].tls or not tls]
    samples = {name: [] for name in names}

    for _ in range(rounds):
        for name in names:
            p = PEERS[name].start(rig, [agent], tls=tls)
            handshake(p)
            time.sleep(1.5)             # the first lease and list are out
            before = private_kb(p.pid)
            load = hold(rig, p, pairs)
            time.sleep(2.5)             # they stand in the list, too
            samples[name].append((private_kb(p.pid) - before) / pairs)
            let_go(rig, load)
            rig.stop(p)

    return samples, [Row(case, n, f'kB private a pair, of {pairs}', s)
                     for n, s in samples.items()]


def hold(rig, p, pairs):
    """A generator that holds so many connections, once they are open."""
    load = rig.start('idle', rig.load('idle', p, connections=pairs),
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if b'open' not in load.stdout.readline():
        with open(load.log) as f:
            raise Failure(f'{p.name}: {f.read().strip()}')
    return load


def let_go(rig, load):
    load.stdin.close()
    load.wait()
    rig.processes.remove(load)
    load.stdout.close()


def case_idle(rig, opt):
    samples, rows = idle(rig, opt, 'idle', opt.pairs, few(opt, 3), False)
    return rows, own(samples, 'idle', 'idle WebSocket: private memory', 1.5,
                     'kB')


def case_many(rig, opt):
    """Up to 50,000 idle connections over several workers, in steps: does one
    of them cost as much among many as among few?  A process has at most 20,000
    descriptors here, a pair takes two, and an address has 28,000 ports."""
    workers = max(2, -(-opt.many * 6 // 5 // 9900))
    agents = [rig.agent() for _ in range(4)]
    rows, first, last = [], {}, {}

    for name in ('stock', 'corral'):
        if name not in opt.peers:
            continue
        p = PEERS[name].start(rig, agents, workers=workers)
        loads = [hold(rig, p, 50 * workers)]    # scratch memory, first pages
        time.sleep(2)
        before = sum(private_kb(w) for w in p.workers)
        opened = 0
        window = 20 if name == 'corral' and not opt.quick else 5   # of pings

        for step in (opt.many // 50, opt.many // 5, opt.many):
            while opened < step:
                n = min(step - opened, 10000)
                loads.append(hold(rig, p, n))
                opened += n
            time.sleep(3)
            cpu = sum(cpu_seconds(w) for w in p.workers)
            time.sleep(window)
            cpu = sum(cpu_seconds(w) for w in p.workers) - cpu
            kb = (sum(private_kb(w) for w in p.workers) - before) / opened
            first.setdefault(name, kb)
            last[name] = kb
            rows.append(Row(f'many-{step}', name, 'kB private a pair', [kb]))
            rows.append(Row(f'many-cpu-{step}', name,
                            'us of CPU a second and pair',
                            [cpu * 1e6 / window / opened], workers=workers))

        for load in loads:
            let_go(rig, load)
        rig.stop(p, 60)

    if 'corral' not in last:
        return rows, []
    return rows, [Verdict('many', f'memory of a pair among {opt.many}, of one '
                          f'among {opt.many // 50}',
                          [last['corral'] / first['corral']], 1.1, 'x')]


# What a busy machine does not change

# One thing done: figure, unit, its name in a verdict, how much of it is done
# at least, how the generator does k times that.

USES = (
    ('', 'a round trip', 20 * 1000, lambda k: ('echo', dict(
        connections=20, size=128, count=1000 * k))),
    ('-handshake', 'a handshake', 400, lambda k: ('rate', dict(
        connections=20, count=400 * k))),
)


def case_instructions(rig, opt):
    agent = rig.agent()
    begin = {'stock': lambda **w: proxies.stock(rig, [agent], **w),
             'corral': lambda **w: proxies.corral(rig, [agent], redis=False,
                                                  **w)}
    begin = {n: start for n, start in begin.items() if n in opt.peers}
    rows, verdicts = [], []

    for (figure, unit, n, use), limit in zip(USES, (0.65, 1.0)):
        samples = {name: [] for name in begin}
        functions = {}

        def run(p, k):
            mode, options = use(k)
            rig.run_load(mode, p, **options)

        for _ in range(few(opt, 3)):
            for name, start in begin.items():
                one, functions[name] = rig.instructions(start, run, n)
                samples[name].append(one)

        case = f'instructions{figure}'
        rows += [Row(case, name, f'user instructions {unit}', s)
                 for name, s in samples.items()]
        for name, by in functions.items():
            few_ = sorted(by.items(), key=lambda x: -x[1])[:20]
            rows += [Row(case, f'  {name}: {function}', 'of them', [value])
                     for function, value in few_ if value >= 5]
        verdicts += against(samples, 'stock', case,
                            f'user instructions {unit}', limit)
    return rows, verdicts


def case_syscalls(rig, opt):
    """Those of 2n less those of n."""
    agent = rig.agent()
    running = peers(rig, opt, agent)
    rows = []

    for figure, unit, n, use in USES:
        for p in running:
            calls = []
            for k in (1, 1, 2):         # the first is a warm-up
                mode, options = use(k)
                calls.append(strace(rig, p, lambda: rig.run_load(mode, p,
                                                                 **options)))
            del calls[0]
            each = {k: (v - calls[0].get(k, 0)) / n
                    for k, v in calls[1].items()}
            rows.append(Row(f'syscalls{figure}', p.name,
                            f'system calls {unit}', [sum(each.values())],
                            **{k: v for k, v in each.items() if v >= 0.01}))

    stop_all(rig, running)
    return rows, []


def strace(rig, p, use):
    """{system call: times} of the proxy during use()."""
    out = f'{rig.place("strace")}/calls'
    tracer = rig.start('strace', ['strace', '-c', '-f', '-o', out, '-p',
                                  str(p.pid)])

    def attached():
        if tracer.poll() is not None:
            with open(tracer.log) as f:
                raise Failure(f'strace of {p.name}: {f.read().strip()}')
        with open(f'/proc/{p.pid}/status') as f:
            return f'TracerPid:\t{tracer.pid}\n' in f.read()

    wait_for(f'strace of {p.name}', attached)
    use()
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    rig.processes.remove(tracer)

    calls = {}
    with open(out) as f:
        for line in f:
            match = re.match(r' *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$',
                             line)
            if match and match.group(2) != 'total':
                calls[match.group(2)] = int(match.group(1))
    return calls
