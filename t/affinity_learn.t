#!/usr/bin/perl

# Tests for learned sessions, over two gateways with one Redis: an agent tells
# an id in an answer, and who comes with it is sent there; nothing else makes an
# entry.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket redis-server/);
my $second = Test::Corral->new();

my @agents = map { $t->agent(id => "a.$_", socket => "a.$_.sock") } 1 .. 3;
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->plan(46);

for ([ $t, 'one', 8080 ], [ $second, 'two', 8090 ]) {
    my ($gateway, $name, $port) = @$_;

    $gateway->write_file_expand('nginx.conf', <<"EOF");

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone     corral 4m;
    corral_redis    "unix:$redis";
    corral_node     node-$name;
    corral_gateway  gate-$name;

    proxy_cache_path  %%TESTDIR%%/cache-$name  keys_zone=cache:1m;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:$port;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        corral_service_from  query;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location /hidden/ {
            proxy_hide_header  Set-Cookie;
            proxy_pass         http://agents;
        }

        location /cached/ {
            proxy_cache            cache;
            proxy_cache_valid      200 1s;
            proxy_cache_use_stale  error http_503;
            proxy_ignore_headers   Set-Cookie;
            proxy_pass             http://agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF
}

$store->epoch('first');
$store->commit((map { my ($name, $affinity, %more) = @$_;
    $store->service($name, affinity => $affinity, affinity_ttl => '1h', %more) }
    [ 'mcp', 'learn.header.Mcp-Session-Id' ],
    [ 'other', 'learn.header.Mcp-Session-Id' ],
    [ 'chat', 'learn.header.X-Chat' ],
    [ 'java', 'learn.cookie.JSESSIONID' ],
    [ 'short', 'learn.cookie.SID', affinity_ttl => '1s' ],
    [ 'full', 'learn.cookie.SID', max_sessions => 1 ],
    [ 'move', 'learn.header.X-Chat', failover => 'reattach' ]),
    map { my $s = $_; map { instance($s, $_) } 1 .. 3 }
        qw/mcp other chat java short full move/);

$_->run() for $t, $second;
$store->wait_acks(4, 1) // die "The gateways do not follow\n";

###############################################################################

# told in a header: its requests go there, on all workers of both gateways

my %where = map { $_ => told('mcp', "Mcp-Session-Id:s-$_") } 1 .. 20;

is(keys %{ { reverse %where } }, 3, 'new sessions are balanced as usual');
is_deeply(strays('mcp', sub { "Mcp-Session-Id: s-$_[0]" }, %where), [],
    'by header');
is(scalar(grep { agent("/?service=mcp&mcp-session-id=s-$_", 8090)
    ne $where{$_} } 1 .. 20), 0, 'the header may be an argument');

# in a cookie of the application

my %java = map { $_ => told('java', "Set-Cookie:JSESSIONID=j-$_;%20Path=/") }
    1 .. 20;
is_deeply(strays('java', sub { "Cookie: a=b; JSESSIONID=j-$_[0]; c=d" },
    %java), [], 'by cookie');

my ($hidden) = get('/hidden/?service=java&say=Set-Cookie:JSESSIONID=hidden');
is(wrong($hidden, 'java', 'Cookie: JSESSIONID=hidden'), 0,
    'told behind the back of the client');

# on an event stream, and on a 101

my ($sse) = http_get('/sse?n=1&service=mcp&say=Mcp-Session-Id:sse')
    =~ /^X-Agent: (\S+)\r$/m;
is(wrong($sse, 'mcp', 'Mcp-Session-Id: sse'), 0, 'by an event stream');

my $ws = $t->websocket('/?service=mcp&say=Mcp-Session-Id:ws');
my $id = $ws->ask('!id');
is(wrong($id, 'mcp', 'Mcp-Session-Id: ws'), 0, 'by a 101');
is(scalar(grep { my $w = $t->websocket('/?service=mcp&mcp-session-id=ws',
    port => port($_ % 2 ? 8080 : 8090)); my $is = $w->ask('!id'); $w->close();
    $is ne $id } 1 .. 6), 0, 'WebSockets are looked up, too');
$ws->close();

# with its time, and by its hash alone

my @keys = sessions('mcp');
is(scalar @keys, 22, 'sessions are in Redis');
cmp_ok($store->command('PTTL', $keys[0]), '>', 3_500_000, 'for an hour');

# what a client says makes no session

is(keys %{ spread('mcp', 'Mcp-Session-Id: forged') }, 3,
    'an id that nobody told is balanced');
ok(total('mcp', affinity_misses => 6), 'and counted');
agent('/?service=mcp', 8080, "Mcp-Session-Id: forged-$_") for 1 .. 20;
is(scalar sessions('mcp'), 22, 'it makes no entry');
ok(total('mcp', affinity_misses => 26), 'each of them');

http_get('/status/404?service=mcp&say=Mcp-Session-Id:echoed',
    headers => [ 'Mcp-Session-Id: echoed' ]);
is(scalar sessions('mcp'), 22, 'nor does the answer of an error');

is(keys %{ spread('other', 'Mcp-Session-Id: s-1') }, 3,
    'no service finds the sessions of another one');
told('other', "Mcp-Session-Id:s-$_") for 1 .. 3;
is(scalar(grep { wrong($where{$_}, 'mcp', "Mcp-Session-Id: s-$_") } 1 .. 3), 0,
    'nor takes them');

get('/?service=mcp&say=Mcp-Session-Id:' . 'x' x 2049);
is(scalar sessions('mcp'), 22, 'an id that is too long is not learned');
ok($t->wait_for_log(qr/"mcp": an agent told a session id of 2049 bytes/),
    'which is said');
my $long = 'x' x 2048;
is(wrong(told('mcp', "Mcp-Session-Id:$long"), 'mcp', "Mcp-Session-Id: $long"),
    0, 'the longest one is');

# an answer from the cache was told by nobody

my $uri = '/cached/?service=java&say=Set-Cookie:JSESSIONID=cached';
my ($cached) = get($uri);
is(wrong($cached, 'java', 'Cookie: JSESSIONID=cached'), 0,
    'its session is where it was told');
$_->set(mode => 503) for @agents;
my $asked = asked();
ok(wait_for(sub { get($uri); asked() > $asked }), 'agents fail');
my %cached = map { (get($uri))[0] => 1 } 1 .. 6;
$_->set(mode => 'ok') for @agents;
is_deeply([ keys %cached ], [ $cached ], 'and the old answer is good enough');
is(wrong($cached, 'java', 'Cookie: JSESSIONID=cached'), 0,
    'which says nothing of who gave none');

# a gateway that has forgotten everything asks; a reload forgets nothing

anew(1);
is(scalar(grep { agent('/?service=mcp', 8090, "Mcp-Session-Id: s-$_")
    ne $where{$_} } 1 .. 20), 0, 'a gateway that was started anew asks');
$store->forget();
$t->reload();
is(scalar(grep { agent('/?service=mcp', 8080, "Mcp-Session-Id: s-$_")
    ne $where{$_} } 1 .. 20), 0, 'behind a reload');

# ends: by the agent's word, not by the client's

is(scalar(sessions('chat')), 0, 'no sessions yet');
my $chat = told('chat', 'X-Chat:c-1');
request('DELETE', '/items/1?service=chat', 'X-Chat: c-1');
is(wrong($chat, 'chat', 'X-Chat: c-1'), 0, 'to delete something ends nothing');

my $n = sessions('mcp');
request('DELETE', "/status/$_?service=mcp", 'Mcp-Session-Id: s-1')
    for 405, 307;
is(wrong($where{1}, 'mcp', 'Mcp-Session-Id: s-1'), 0,
    'nor does a DELETE that is refused');
request('DELETE', '/?service=mcp', 'Mcp-Session-Id: s-1');
ok(wait_for(sub { sessions('mcp') == $n - 1 }), 'DELETE of MCP ends it');
is(keys %{ spread('mcp', 'Mcp-Session-Id: s-1', 8080) }, 3, 'it is unknown');

my $one = told('full', 'Set-Cookie:SID=f-1');
$ws = $t->websocket('/?service=full', headers => [ 'Cookie: SID=f-1' ]);
is($ws->ask('!id'), $one, 'the one place of its instance is taken');
my $gone = '&say=Set-Cookie:SID=x;%20Max-Age=0';
isnt(agent("/?service=full$gone", 8080, 'Cookie: SID=f-1'), $one,
    'another one serves it meanwhile, and says it is over');
$ws->close();
ok(wait_for(sub { agent('/?service=full', 8080, 'Cookie: SID=f-1') eq $one }),
    'but it is back with who has it');
is(scalar(sessions('full')), 1, 'as nobody else ends it');
agent("/?service=full$gone", 8080, 'Cookie: SID=f-1');
ok(wait_for(sub { !sessions('full') }), 'whose word ends it');
told('full', 'Set-Cookie:SID=f-2');
agent('/?service=full&say=Set-Cookie:SID=x;%20Expires=Thu,%2001%20Jan%201970'
    . '%2000:00:01%20GMT', 8080, 'Cookie: SID=f-2');
ok(wait_for(sub { !sessions('full') }), 'also by a date');

told('short', 'Set-Cookie:SID=t-1');
ok(wait_for(sub { !sessions('short') }, 5), 'its time ends');

# a WebSocket that goes on elsewhere takes along what its new agent says

$ws = $t->websocket('/?service=move&say=X-Chat:m-1');
$id = $ws->ask('!id');
my ($agent) = grep { $_->id() eq $id } @agents;
$agent->drop('reset');
my $next = $ws->ask('!id');
isnt($next, $id, 'a WebSocket goes on with another instance');
is(wrong($next, 'move', 'X-Chat: m-1'), 0, 'and its session with it');
$ws->close();

# drains: it stays

$store->commit(instance('mcp', 1, state => 'draining'));
$store->wait_acks(4, 2);
my @old = grep { $_ != 1 && $where{$_} eq 'a.1' } 1 .. 20;
is(scalar(grep { wrong('a.1', 'mcp', "Mcp-Session-Id: s-$_") } @old), 0,
    'a draining instance keeps its sessions');

# another incarnation knows nothing

$store->commit(instance('mcp', 1, incarnation => 2));
$store->wait_acks(4, 3);
is(keys %{ spread('mcp', "Mcp-Session-Id: s-$old[0]", 8080) }, 3,
    'a session whose incarnation is gone is balanced');
ok(total('mcp', affinity_moves => 12), 'and counted');
told('mcp', "Mcp-Session-Id:s-$old[0]", "Mcp-Session-Id: s-$old[0]");
is(keys %{ spread('mcp', "Mcp-Session-Id: s-$old[0]", 8080) }, 1,
    'until an agent says that it has it');

# Redis is away

my ($pid) = $store->command('INFO', 'server') =~ /process_id:(\d+)/;
kill 'STOP', $pid;
my $begin = time();
my $alone = told('mcp', 'Mcp-Session-Id:alone');
my $stray = grep { agent('/?service=mcp', 8080, 'Mcp-Session-Id: alone')
    ne $alone } 1 .. 6;
agent('/?service=mcp', 8080, "Mcp-Session-Id: none-$_") for 1 .. 10;
my $took = time() - $begin;
kill 'CONT', $pid;
is($stray, 0, 'without Redis a gateway knows what it has learned');
cmp_ok($took, '<', 2, 'nobody waits for it');

$second->stop();

###############################################################################

# The second gateway, with a zone of its own again.

sub anew {
    my ($revision) = @_;
    $second->stop();
    $store->forget();
    $second->run();
    $store->wait_acks(2, $revision) // die "The gateway does not follow\n";
}

sub instance {
    my ($service, $n, %more) = @_;
    return $store->instance($service, "a.$n.$service",
        $agents[$n - 1]->address(), %more);
}

# (agent, the whole answer) of a request.

sub get { answer(http_get($_[0])) }

sub request {
    my ($method, $uri, @headers) = @_;
    return answer(http(join "\r\n", "$method $uri HTTP/1.1", 'Host: a',
        'Connection: close', @headers, '', ''));
}

sub answer {
    my ($r) = @_;
    return ($r =~ /^X-Agent: (\S+)\r$/m ? $1 : $r, $r);
}

sub agent {
    my ($uri, $port, @headers) = @_;
    return (answer(http_get($uri, port => $port, headers => \@headers)))[0];
}

# The agent of a new session, which tells this header.

sub told {
    my ($service, $say, @headers) = @_;
    return agent("/?service=$service&say=$say", 8080, @headers);
}

# How many of six requests of a session do not come to the agent.

sub wrong {
    my ($agent, $service, $header) = @_;
    return scalar grep { agent("/?service=$service", $_ % 2 ? 8080 : 8090,
        $header) ne $agent } 1 .. 6;
}

# Names of the sessions that do not come to their agent; $header->(name).

sub strays {
    my ($service, $header, %agent) = @_;
    return [ grep { wrong($agent{$_}, $service, $header->($_)) }
        sort keys %agent ];
}

# Who serves twelve requests of a session: of both gateways, or of one.

sub spread {
    my ($service, $header, $port) = @_;
    return { map { agent("/?service=$service",
        $port // ($_ % 2 ? 8080 : 8090), $header) => 1 } 1 .. 12 };
}

# The keys of a service's sessions in Redis.

sub sessions {
    my ($service) = @_;
    return grep { ($store->command('GET', $_) // '') =~ /^a\.\d\.$service:\d$/ }
        @{ $store->command('KEYS', $store->key('session', '*')) };
}

# Has the first gateway counted so many?  Workers add theirs up now and then.

sub total {
    my ($service, $what, $n) = @_;
    my $got;
    return wait_for(sub {
        ($got) = map { $_->{$what} } grep { $_->{name} eq $service }
            @{ $t->status()->{services} };
        $got == $n
    }) || diag("$what is $got");
}

sub asked { my $n = 0; $n += $_->stats()->{requests} for @agents; return $n }
