"""The whole of Corral, on free ports and in one directory: corrald with its
embedded Redis, nginx, two services of the demo echo agent.

"talk" has the WebSockets, and nothing else, so that its counts are those of
living WebSockets; "web" has the streams and requests; "churn" is scaled.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

from base import AGENTS, Nginx, alive, established, left, send, slurp
from failure import Failure
from proxies import nginx_path
from rig import BUILD, free_port, wait_for

WORKERS = 2
INSTANCES = 2

PROBE = {'type': 'websocket', 'interval': '500ms', 'timeout': '1s',
         'failure_threshold': 2}

# a frozen agent, and a client that is gone, are found within four seconds

PINGS = {'ping_interval': '2s', 'ping_timeout': '2s',
         'handshake_timeout': '1s', 'fail_timeout': '1s'}

CONF = """
load_module {build}/ngx_http_corral_module.so;
{user}
pid {place}/nginx.pid;
error_log {place}/error.log info;
working_directory {place};
worker_processes {workers};

events {{
    worker_connections 4096;
}}

http {{
    access_log {place}/access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;

    corral_zone corral 4m;
    corral_cluster chaos;
    corral_node n1;
    corral_redis "unix:{dir}/r/redis.sock?user=gateway&password={password}";
    corral_state_file {place}/gateway.state;

    upstream agents {{
        corral;
    }}

    server {{
        listen 127.0.0.1:{port};

        location / {{
            corral_service_from rules path query;
            corral_websocket agents;
            proxy_pass $corral_scheme://agents;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $corral_host;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}

        location = /status {{
            corral_status;
        }}
    }}
}}
"""


class Corral:
    name = 'Corral'

    def __init__(self, rig):
        self.rig = rig
        self.dir = rig.place('corral')
        os.chmod(rig.dir, 0o755)            # agents have a user of their own
        os.chmod(self.dir, 0o755)
        self.api_port = free_port()
        self.port = free_port()
        self.corrald = None
        self.alerts = []                    # expected ones, patterns
        self.configure()
        self.start_corrald()
        self.token = slurp(f'{self.dir}/s/token').strip()
        self.start_nginx()
        self.services()

    def url(self, service, rest='', scheme='ws'):
        return f'{scheme}://127.0.0.1:{self.port}/agents/{service}/{rest}'

    # corrald

    def configure(self):
        with open(f'{self.dir}/corrald.yaml', 'w') as f:
            f.write(f"""
cluster: chaos
node: n1
listen: "127.0.0.1:{self.api_port}"
state_dir: "{self.dir}/s"
run_dir: "{self.dir}/r"
log_dir: "{self.dir}/l"
shim: "{BUILD}/corral-shim"
agent_user: nobody
gateway_url: "ws://127.0.0.1:{self.port}/agents/{{service}}"
""")

    def environment(self, name):
        """Where a sanitizer writes to; corrald alone is to leave nothing."""
        leaks = int(name == 'corrald')
        path = f'{self.dir}/sanitizer.{name}'
        return {'ASAN_OPTIONS': 'detect_odr_violation=0:'
                f'detect_leaks={leaks}:log_path={path}',
                'UBSAN_OPTIONS': f'print_stacktrace=1:log_path={path}'}

    def start_corrald(self):
        log = open(f'{self.dir}/corrald.out', 'ab')
        self.corrald = subprocess.Popen(
            [f'{BUILD}/corrald', '-c', f'{self.dir}/corrald.yaml'],
            cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **self.environment('corrald')})
        log.close()

        def ready():
            if self.corrald.poll() is not None:
                raise Failure('corrald has ended:\n'
                              + slurp(f'{self.dir}/corrald.out'))
            return self.corrald_ready()
        wait_for('corrald is ready', ready, 30)

    def corrald_ready(self):
        try:
            with urllib.request.urlopen(
                    f'http://127.0.0.1:{self.api_port}/readyz', timeout=2):
                return True
        except OSError:
            return False

    def kill_corrald(self):
        self.corrald.kill()
        self.corrald.wait()

    def api(self, method, path, body=None):
        """The answer; a Failure if it is refused."""
        kind = 'merge-patch+json' if method == 'PATCH' else 'json'
        request = urllib.request.Request(
            f'http://127.0.0.1:{self.api_port}/api/v1{path}', method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={'Authorization': f'Bearer {self.token}',
                     'Content-Type': f'application/{kind}'})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self.answered = answer.status
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            raise Failure(f'{method} {path}: {error.code} '
                          + error.read().decode(errors='replace')) from error
        except OSError as error:
            raise Failure(f'{method} {path}: {error}') from error

    # nginx

    def start_nginx(self):
        place = f'{self.dir}/n'
        os.mkdir(place)
        password = slurp(f'{self.dir}/s/redis.gateway.password').strip()
        with open(f'{place}/nginx.conf', 'w') as f:
            f.write(CONF.format(
                build=BUILD, place=place, dir=self.dir, port=self.port,
                password=password, workers=WORKERS,
                user='user root;' if os.geteuid() == 0 else ''))
        self.nginx = Nginx(self.rig, nginx_path(), place, self.port,
                           self.environment('nginx'))

    def status(self):
        with urllib.request.urlopen(f'http://127.0.0.1:{self.port}/status',
                                    timeout=10) as answer:
            return json.load(answer)

    def get(self, **headers):
        """What the demo agent says of a request for "/"."""
        request = urllib.request.Request(f'http://127.0.0.1:{self.port}/',
                                         headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except OSError as error:
            raise Failure(f'GET / with {headers}: {error}') from error

    # agents

    def services(self):
        for name in ('common/corral_agent.py', 'echo/agent.py'):
            folder = f'{self.dir}/{name.split("/")[0]}'
            os.mkdir(folder, 0o755)
            shutil.copy(f'{AGENTS}/{name}', f'{self.dir}/{name}')
            os.chmod(f'{self.dir}/{name}', 0o755)

        def service(name, n, **more):
            self.api('POST', '/services', {
                'name': name, 'replicas': n, 'desired': 'running',
                'command': [f'{self.dir}/echo/agent.py', '--listen',
                            '{listen}'],
                'readiness_probe': PROBE, 'restart_delay': '100ms',
                'restart_max_delay': '1s', 'max_restart_count': 1000,
                'stop_timeout': '3s', 'balance': 'round_robin', **PINGS,
                **more})
        service('talk', INSTANCES)
        service('web', INSTANCES, sse_resume=True, sse_run_on='2s')
        service('churn', 1, drain_timeout='2s')
        wait_for('all agents are healthy', self.well, 60)

    def instances(self, service):
        return self.api('GET', f'/services/{service}/instances')['items']

    def shim(self, instance_id):
        """The pid of the parent of an agent."""
        mark = f'/corral-shim\0{instance_id}\0'.encode()
        for name in os.listdir('/proc'):
            if name.isdigit() and mark in slurp(f'/proc/{name}/cmdline', 'rb') \
                    and slurp(f'/proc/{name}/comm').startswith('corral-shim'):
                return int(name)
        raise Failure(f'{instance_id} has no shim')

    def well(self):
        """Is everything as it is wanted?  Then nothing more is to recover."""
        try:
            for name, n in (('talk', INSTANCES), ('web', INSTANCES),
                            ('churn', 1)):
                good = [x for x in self.instances(name)
                        if (x['state'], x['health']) == ('running', 'healthy')]
                if len(good) != n:
                    return False
            serving = [x for x in self.api('GET', '/gateways')['items']
                       if x['state'] == 'serving']
            return len(serving) == len(self.nginx.workers()) == WORKERS \
                and self.corrald_ready()
        except Failure:
            return False

    def applied(self):
        """Does a change go all the way, to each worker?"""
        try:
            self.api('PATCH', '/services/churn?wait=applied',
                     {'description': f'change {time.time()}'})
            return self.answered == 200
        except Failure:
            return False

    # counts

    def rows(self, ports):
        """What the list of connections says of each client."""
        by_port = {x['client_port']: x for x in
                   self.api('GET', '/connections?limit=1000')['items']}
        return {int(k): by_port.get(port, {}) for k, port in ports.items()}

    def differs(self, ports):
        """'' if what lives is what is listed and counted, by instance."""
        try:
            listed, counted = {}, {}
            rows = self.rows(ports)
            for row in self.api('GET', '/connections?limit=1000')['items']:
                if row['service'] == 'talk':
                    key = row['instance_id']
                    listed[key] = listed.get(key, 0) + 1
            for service in self.status()['services']:
                if service['name'] == 'talk':
                    for x in service['instances']:
                        if x['active']:
                            counted[x['instance_id']] = x['active']
        except (Failure, OSError) as error:
            return str(error)
        nobody = [k for k, row in rows.items() if not row.get('instance_id')]
        if nobody:
            return f'{len(rows)} clients live, {len(nobody)} are not listed'
        if sum(listed.values()) != len(rows):
            return f'{len(rows)} clients live, {sum(listed.values())} listed'
        if listed != counted:
            return f'listed: {listed}, counted: {counted}'
        return ''

    def held(self):
        return established(self.port)

    # Redis

    def redis(self):
        """The pid of the embedded one."""
        return int(slurp(f'{self.dir}/s/redis/redis.pid') or 0)

    def redis_cli(self, *args):
        password = slurp(f'{self.dir}/s/redis.corrald.password').strip()
        done = subprocess.run(
            ['redis-cli', '-s', f'{self.dir}/r/redis.sock', '--user',
             'corrald', '--no-auth-warning', *args], stdout=subprocess.PIPE,
            env={**os.environ, 'REDISCLI_AUTH': password}, text=True,
            check=True)
        return done.stdout.split('\n')[:-1]

    # the end

    def complaints(self):
        """Lines that nobody expected, of logs and sanitizers."""
        found = []
        place = f'{self.dir}/n'
        for line in slurp(f'{place}/error.log').split('\n'):
            if re.search(r'\[(alert|emerg|crit)\]', line) \
                    and not any(re.search(x, line) for x in self.alerts):
                found.append(line)
        for folder in (self.dir, place):
            for name in sorted(os.listdir(folder)):
                text = slurp(f'{folder}/{name}') if re.match(
                    r'sanitizer|.*\.(log|out)$', name) else ''
                match = re.search(r'.*(Sanitizer: |runtime error:|lockcheck: )'
                                  r'.*(\n.*){0,20}', text)
                if match:
                    found.append(f'{name}: {match.group()}')
                if name.startswith('core'):
                    found.append(f'{folder}/{name}')
        return found

    def zero(self):
        """'' or what is counted though nobody is there."""
        try:
            bad = [f'{x["instance_id"]}: {x["active"]} active, '
                   f'{x["reserved"]} reserved'
                   for s in self.status()['services'] for x in s['instances']
                   if x['active'] or x['reserved']]
            items = self.api('GET', '/connections?limit=1000')['items']
            bad += [f'{len(items)} are listed'] * bool(items)
        except (Failure, OSError) as error:
            return str(error)
        return ', '.join(bad)

    def stop(self):
        """Ends all of it.  Returns what was wrong with that."""
        wrong = [self.nginx.stop(10)]
        for name in ('talk', 'web', 'churn'):
            self.api('DELETE', f'/services/{name}?force=1')
        try:
            wait_for('agents and shims end', lambda: not self.agents(), 20)
        except Failure as error:
            wrong.append(f'{error}: {self.agents()}')
        self.corrald.terminate()
        status = self.corrald.wait(20)
        if status:
            wrong.append(f'corrald ends with {status}')
        redis = self.redis()
        send(redis, 'TERM')
        wait_for('Redis ends', lambda: not alive(redis), 10)
        return [x for x in wrong if x] + self.complaints()

    def agents(self):
        return {pid: command for pid, command in left(self.dir).items()
                if 'redis-server' not in command and pid != self.corrald.pid}
