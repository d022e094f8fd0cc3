"""The faults, a row each, and how each is done to a Corral (corral.py).

A fault names by affected() the WebSockets that it may take, before it comes;
all others may not notice.  strike() returns what is true once everything is as
before, beside what Corral.well() looks at, or None.
"""

import threading

from base import alive, send
from failure import Failure
from rig import wait_for

ALERT = r'worker process {} exited on signal 9'


class Fault:
    """No client is affected, unless a class says so."""

    text = ''
    codes = ()              # that the affected are told
    told = 0                # seconds until they all are
    recovery = 15           # seconds, at the most, until all is as before
    hold = 0                # seconds from strike() to heal()
    breaks = False          # may streams break off, to be resumed or said lost?
    leave = False           # do all clients leave, as it waits for that?
    lease = False           # are streams said lost only when a lease ends?
    requests = 0            # HTTP requests that may fail, for each client ...
    get = False             # ... GETs, too, which are else tried elsewhere

    def __init__(self, corral, random, checker):
        self.corral = corral
        self.random = random
        self.checker = checker
        self.choose()

    def choose(self):
        pass

    def affected(self, row):
        return False

    def strike(self):
        raise NotImplementedError

    def heal(self):
        pass


# agents

class OfAgents(Fault):
    """One instance of each service is the victim."""

    codes = ('1001', '1011')
    breaks = True
    requests = 1

    def choose(self):
        self.victims = [self.random.choice(sorted(
            self.corral.instances(name), key=lambda x: x['instance_id']))
            for name in ('talk', 'web')]
        self.was = {x['instance_id']: x['incarnation'] for x in self.victims}

    def affected(self, row):
        return row.get('instance_id') in self.was

    def dead(self):
        """Until then a new client may still come to one, and goes with it."""
        wait_for('the agents are dead', lambda: not any(
            alive(x['pid']) for x in self.victims), 5)

    def again(self):
        now = {x['instance_id']: x for name in ('talk', 'web')
               for x in self.corral.instances(name)}
        return all(now.get(k, {}).get('incarnation', 0) > n
                   for k, n in self.was.items())


class AgentKilled(OfAgents):
    text = 'an agent is killed'
    told = 3

    def strike(self):
        for x in self.victims:
            send(x['pid'], 'KILL')
        self.dead()
        return self.again


class ShimKilled(OfAgents):
    text = 'the shim of an agent is killed'
    told = 3

    def strike(self):
        for x in self.victims:
            send(self.corral.shim(x['instance_id']), 'KILL')
        self.dead()
        return self.again


class AgentFrozen(OfAgents):
    text = 'an agent is frozen'
    codes = ('1011',)
    told = 6
    hold = 6
    requests = 3

    def strike(self):
        for x in self.victims:
            send(x['pid'], 'STOP')

    def heal(self):
        for x in self.victims:
            send(x['pid'], 'CONT')


# clients

class SlowReader(Fault):
    text = 'clients read slowly'

    def strike(self):
        wrong = self.checker('slow', url=self.corral.url('talk'), n=3,
                             messages=60, size=65536, pause=0.02)['wrong']
        if wrong:
            raise Failure('a slow reader: ' + wrong[0])


class HalfOpen(Fault):
    text = 'clients are gone without a FIN'
    recovery = 10

    def strike(self):
        ports = set(self.checker('vanish', url=self.corral.url('talk'),
                                 n=3)['ports'])
        if not ports <= self.corral.held():
            raise Failure('the gateway heard that its client is gone')
        return lambda: not ports & self.corral.held()


# Redis and corrald

class RedisKilled(Fault):
    text = 'Redis is killed'
    recovery = 25

    def strike(self):
        redis = self.corral.redis()
        send(redis, 'KILL')
        return lambda: self.corral.redis() != redis \
            and alive(self.corral.redis())


class RedisFrozen(Fault):
    text = 'Redis is frozen'
    hold = 5
    recovery = 30

    def choose(self):
        self.redis = self.corral.redis()

    def strike(self):
        send(self.redis, 'STOP')

    def heal(self):
        send(self.redis, 'CONT')


class RedisEmptied(Fault):
    text = 'Redis is emptied'
    recovery = 25

    def epoch(self):
        return self.corral.redis_cli('GET', 'corral:chaos:epoch')[0]

    def strike(self):
        was = self.epoch()
        self.corral.redis_cli('DEL', *self.corral.redis_cli('--scan'))

        def restored():
            now = self.epoch()
            return now and now != was and all(
                x['epoch'] == now
                for x in self.corral.api('GET', '/gateways')['items'])
        return restored


class CorraldKilled(Fault):
    text = 'corrald is killed'
    hold = 1

    def choose(self):
        self.was = self.pids()

    def pids(self):
        return {x['instance_id']: x['pid'] for name in ('talk', 'web')
                for x in self.corral.instances(name)}

    def strike(self):
        self.corral.kill_corrald()
        return lambda: self.pids() == self.was

    def heal(self):
        self.corral.start_corrald()


# nginx

class Reload(Fault):
    text = 'nginx is reloaded'

    def strike(self):
        for _ in range(self.random.randint(1, 3)):
            self.corral.nginx.reload()


class Upgrade(Fault):
    text = 'the binary of nginx is upgraded'
    recovery = 60           # streams, and readers of a killed worker's streams

    # the new binary counts in a zone of its own: the round ends with the old
    # one, so its clients leave

    leave = True

    def strike(self):
        old = self.corral.nginx.upgrade()
        return lambda: not alive(old)


class WorkerKilled(Fault):
    text = 'a worker is killed'
    codes = ('1006',)
    told = 2
    recovery = 40           # its lease
    breaks = True
    lease = True
    requests = 1
    get = True

    def choose(self):
        self.pid = self.random.choice(self.corral.nginx.workers())

    def affected(self, row):
        return f':{self.pid}:' in row.get('worker', '')

    def kill(self):
        self.corral.alerts.append(ALERT.format(self.pid))
        self.corral.nginx.kill_worker(self.pid)

    def strike(self):
        self.kill()
        return lambda: not [
            x for x in self.corral.api('GET', '/gateways')['items']
            if x['pid'] == self.pid]


# churn

class RuleChurn(Fault):
    text = 'rules change all the time'
    changes = 40

    def strike(self):
        rules(self.corral, self.changes)


class ScaleChurn(Fault):
    text = 'a service is scaled up and down'
    recovery = 30

    def strike(self):
        scale(self.corral, self.checker, [self.random.randint(2, 3), 1])


class WorkerKilledUnderChurn(WorkerKilled):
    text = 'workers are killed while rules and scale change'
    requests = 2

    def affected(self, row):
        return True

    def strike(self):
        errors = []

        def churn(do, *args):
            try:
                do(*args)
            except Failure as error:
                errors.append(error)
        threads = [
            threading.Thread(target=churn, args=(rules, self.corral, 25,
                                                 False)),
            threading.Thread(target=churn, args=(
                scale, self.corral, None, [2, 1]))]
        for thread in threads:
            thread.start()

        # each in its turn: the next when there are as many as before

        for pid in self.corral.nginx.workers():
            n = len(self.corral.nginx.workers())
            self.pid = pid
            self.kill()
            wait_for('a new worker', lambda: len(
                self.corral.nginx.workers()) == n and pid not in
                self.corral.nginx.workers(), 10)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def rules(corral, changes, strict=True):
    """A rule comes, goes from one service to the other, and is gone again.
    strict: what is asked then is served by what it says."""
    for number in range(changes):
        if number % 10 == 0:
            corral.api('POST', '/routes?wait=applied', {
                'name': 'live', 'target_services': ['churn'],
                'priority': 1000, 'conditions': [{
                    'field': 'header.live', 'operator': 'equals',
                    'value': 'yes'}]})
        to = ('web', 'churn')[number % 2]
        corral.api('PATCH', '/routes/live?wait=applied',
                   {'target_services': [to], 'description': str(number)})
        if strict:
            served = corral.get(live='yes')
            if served.get('service') != to:
                raise Failure(f'rule change {number}: "{to}" is to serve, '
                              f'it was {served}')
        if number % 10 == 9 or number == changes - 1:
            corral.api('DELETE', '/routes/live?wait=applied')


def scale(corral, checker, sizes):
    for n in sizes:
        corral.api('PUT', '/services/churn/scale', {'replicas': n})

        def scaled():
            found = corral.instances('churn')
            return len(found) == n and all(
                (x['state'], x['health']) == ('running', 'healthy')
                for x in found)
        wait_for(f'the service has {n} replicas', scaled, 30)
        if checker:
            said = checker('serve', url=corral.url('churn'), n=6)
            if said['served'] != 6:
                raise Failure(f'with {n} replicas new clients failed: '
                              f'{said["errors"]}')


FAULTS = {
    'agent_killed': AgentKilled,
    'agent_frozen': AgentFrozen,
    'shim_killed': ShimKilled,
    'slow_reader': SlowReader,
    'half_open': HalfOpen,
    'redis_killed': RedisKilled,
    'redis_frozen': RedisFrozen,
    'redis_emptied': RedisEmptied,
    'corrald_killed': CorraldKilled,
    'worker_killed': WorkerKilled,
    'worker_churn': WorkerKilledUnderChurn,
    'reload': Reload,
    'upgrade': Upgrade,
    'rule_churn': RuleChurn,
    'scale_churn': ScaleChurn,
}


def schedule(names, random):
    """Without an end: each fault once, in an order of the seed, and again."""
    while True:
        deck = list(names)
        random.shuffle(deck)
        yield from deck
