"""Redis, and the documents of a cluster in it (docs/schema.md)."""

import json
import socket

from failure import Failure


class Redis:
    """One connection to Redis; only what is needed here of the protocol."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.f = self.s.makefile('rb')

    def send(self, *args):
        out = [b'*%d\r\n' % len(args)]
        for a in args:
            a = a if isinstance(a, bytes) else str(a).encode()
            out.append(b'$%d\r\n%s\r\n' % (len(a), a))
        self.s.sendall(b''.join(out))

    def read(self):
        line = self.f.readline()
        if not line:
            raise Failure('Redis has closed the connection')
        kind, rest = line[:1], line[1:-2]
        if kind == b'-':
            raise Failure(f'Redis: {rest.decode()}')
        if kind == b'+':
            return rest.decode()
        if kind == b':':
            return int(rest)
        if kind == b'$':
            n = int(rest)
            return None if n < 0 else self.f.read(n + 2)[:-2].decode()
        n = int(rest)
        return None if n < 0 else [self.read() for _ in range(n)]

    def __call__(self, *args):
        self.send(*args)
        return self.read()


# One change as docs/schema.md has it: documents, revision, entries.

COMMIT = """
local p = 'corral:' .. ARGV[1] .. ':'
local revision = redis.call('INCR', p .. 'revision')
for i = 2, #ARGV, 3 do
    local kind, id = ARGV[i], ARGV[i + 1]
    redis.call('HSET', p .. kind .. 's', id, ARGV[i + 2])
    redis.call('HSET', p .. 'revisions', kind .. '/' .. id, revision)
    redis.call('XADD', p .. 'changes', '*', 'kind', kind, 'id', id,
               'revision', revision)
end
return revision
"""


class Registry:
    """The documents of one cluster."""

    def __init__(self, path, cluster):
        self.redis = Redis(path)
        self.path = path
        self.cluster = cluster
        self.prefix = f'corral:{cluster}:'

    @staticmethod
    def service(name, **more):
        return {'service_id': f'id-{name}', 'name': name,
                'desired': 'running', **more}

    @staticmethod
    def instance(number, service, port, **more):
        return {'instance_id': f'{service}.{number}',
                'service_id': f'id-{service}', 'incarnation': 1,
                'node': 'bench', 'address': f'127.0.0.1:{port}',
                'weight': 100, 'state': 'running', 'health': 'healthy',
                **more}

    @staticmethod
    def rule(name, host, service):
        return {'rule_id': f'id-{name}', 'name': name,
                'conditions': [{'field': 'host', 'operator': 'equals',
                                'value': host}],
                'target_services': [service]}

    @classmethod
    def kind(cls, doc):
        return next(k for k in ('instance', 'rule', 'service')
                    if f'{k}_id' in doc)

    @classmethod
    def _id(cls, doc):
        return doc[f'{cls.kind(doc)}_id']

    def commit(self, docs):
        """Returns the new revision."""
        args = []
        for doc in docs:
            args += [self.kind(doc), self._id(doc), json.dumps(doc)]
        return self.redis('EVAL', COMMIT, 0, self.cluster, *args)

    def fill(self, docs, epoch):
        """Writes all documents unnoticed, then makes it another store."""
        for i in range(0, len(docs), 500):
            for doc in docs[i:i + 500]:
                self.redis.send('HSET', f'{self.prefix}{self.kind(doc)}s',
                                self._id(doc), json.dumps(doc))
            for doc in docs[i:i + 500]:
                self.redis.read()
        self.redis('INCR', self.prefix + 'revision')
        self.redis('SET', self.prefix + 'epoch', epoch)

    def leases(self):
        """The leases of the live workers."""
        found = []
        for worker in self.redis('SMEMBERS', self.prefix + 'workers'):
            flat = self.redis('HGETALL', f'{self.prefix}worker:{worker}')
            if flat:
                found.append(dict(zip(flat[::2], flat[1::2])))
        return found
