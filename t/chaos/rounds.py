"""A round of chaos: clients talk, a fault comes, it is judged what they saw."""

import time

from base import Checker
from failure import Failure

CLIENTS = 16                # WebSockets
STREAMS = 4
ASKERS = 2
EVERY = 0.1                 # seconds between the messages of a client
SERVED = 10                 # new clients while the fault lasts
SLOWEST = 8                 # seconds that one of them may take
COUNTS = 15                 # seconds until counts are what lives
LEASE = 45                  # until streams of a killed worker are said lost


class Violation(Exception):
    """What may not be; the text is a sentence."""


class Chaos:
    def __init__(self, rig, corral):
        self.corral = corral
        self.checker = Checker(rig)
        self.clients = []
        self.results = []
        self.leased = 0             # streams may still be said lost
        web = corral.url('web', scheme='http')
        self.checker('listen', n=STREAMS,
                     url=f'{web}events?n=80&interval=50')
        self.checker('ask', n=ASKERS, url=web)

    def wait(self, true, seconds):
        """The seconds it took, or None; an API that is away is not true."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            try:
                if true():
                    return time.monotonic() - start
            except Failure:
                pass
            time.sleep(0.05)
        return None

    def counts_equal(self, when, seconds=COUNTS):
        says = ''

        def equal():
            nonlocal says
            says = self.corral.differs(self.checker('ports')['ports'])
            return says == ''
        if self.wait(equal, seconds) is None:
            raise Violation(f'{when} counts are not what lives: {says}')

    def begin(self):
        """As many clients as always, all of them counted."""
        missing = CLIENTS - len(self.clients)
        if missing:
            self.clients += self.checker(
                'connect', url=self.corral.url('talk', '?delay=20'),
                n=missing)['ids']
        self.counts_equal('before')

    def round(self, number, name, kind, random):
        self.begin()
        fault = kind(self.corral, random, self.checker)
        rows = self.corral.rows(self.checker('ports')['ports'])
        affected = [k for k in self.clients if fault.affected(rows[k])]
        others = [k for k in self.clients if k not in affected]
        result = {'name': name, 'affected': len(affected)}
        self.results.append(result)

        self.checker('tallies')
        before = self.judge(affected, others, 0)['messages']
        self.checker('pump', every=EVERY, ids=self.clients)
        struck = time.time()
        recovered = fault.strike()
        self.serve(struck + fault.hold)
        if fault.told:
            result['told'] = self.told(fault, affected, struck)
        fault.heal()
        healed = time.time()
        if fault.leave:                 # it lasts until the last of them ends
            result.update(self.judge(affected, others, before))
            self.leave()
            others = []
        took = self.wait(lambda: (not recovered or recovered())
                         and self.corral.well() and self.corral.applied(),
                         fault.recovery)
        if took is None:
            raise Violation(f'not recovered within {fault.recovery} s')
        result['recovered'] = took + healed - struck - fault.hold
        if not fault.leave:
            result.update(self.judge(affected, others, before))
        self.clients = others
        self.counts_equal('after it')
        self.web(fault, result)
        self.logs()
        return result

    def leave(self):
        self.checker('close', ids=self.clients)
        self.clients = []

    def serve(self, until):
        """New clients, once and then until the fault is to be over."""
        while True:
            said = self.checker('serve', url=self.corral.url('talk'),
                                n=SERVED)
            if said['served'] != SERVED:
                raise Violation(f'{SERVED - said["served"]} of {SERVED} new '
                                f'clients were not served: {said["errors"]}')
            if said['slowest'] > SLOWEST:
                raise Violation('a new client waited for '
                                f'{said["slowest"]:.1f} s')
            if time.time() >= until:
                return
            time.sleep(0.2)

    def told(self, fault, affected, struck):
        said = self.checker('ended', ids=affected, timeout=fault.told)
        if said['open']:
            raise Violation(f'{said["open"]} of {len(affected)} affected '
                            f'clients were not told within {fault.told} s')
        took = said['last'] - struck if affected else 0
        if took > fault.told:
            raise Violation(f'an affected client was told after {took:.1f} s, '
                            f'not within {fault.told} s')
        other = set(said['codes']) - set(fault.codes)
        if other:
            raise Violation('affected clients were told '
                            f'{", ".join(sorted(other))}, not '
                            + ' or '.join(fault.codes))
        return max(0, took)

    def judge(self, affected, others, before):
        """What they sent and got; all that was due before has come."""
        self.checker('rest')
        said = self.checker('judge', ids=others, timeout=20)
        if said['verdicts']:
            raise Violation('clients that are not affected: '
                            + '; '.join(said['verdicts'][:5]))
        gone = self.checker('judge', ids=affected, timeout=0)
        if gone['doubled']:
            raise Violation('an affected client got a message twice: '
                            + '; '.join(gone['verdicts'][:5]))
        return {'messages': said['messages'] - before, 'lost': gone['lost'],
                'doubled': said['doubled'] + gone['doubled']}

    def web(self, fault, result):
        """Streams and requests."""
        said = self.checker('tallies')
        streams, askers = said['streams'], said['askers']
        if said['wrong']:
            raise Violation(f'a stream: {said["wrong"][0]}')
        if fault.lease:
            self.leased = time.monotonic() + LEASE
        waiting = time.monotonic() < self.leased
        if not fault.breaks and (streams.get('breaks') or not waiting
                                 and streams.get('gaps')):
            raise Violation(f'streams broke off: {streams}')
        if not streams.get('events') and not waiting:
            raise Violation('streams stand still')
        if not askers.get('good'):
            raise Violation(f'no request was answered: {askers}')

        failed = {x: askers.get(f'failed {x}', 0) for x in ('GET', 'POST')}
        if sum(failed.values()) > fault.requests * ASKERS \
                or failed['GET'] and not fault.get:
            raise Violation(f'requests failed: {askers}')
        result.update(events=streams.get('events', 0), requests=askers['good'],
                      failed=sum(failed.values()))

    def logs(self):
        said = self.corral.complaints()
        if said:
            raise Violation('a log says: ' + '\n'.join(said))

    def end(self):
        """Everybody leaves: nothing is counted, and everything ends."""
        self.checker('silence')
        self.checker('close', ids=self.clients)
        self.checker.end()
        says = ''

        def zero():
            nonlocal says
            says = self.corral.zero()
            return says == ''
        if self.wait(zero, COUNTS) is None:
            raise Violation(f'nobody is there, but {says}')
        wrong = self.corral.stop()
        if wrong:
            raise Violation('the end: ' + '; '.join(wrong))
