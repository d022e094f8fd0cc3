#!/usr/bin/perl

# Tests for affinity by something that the request has, over two gateways with
# one Redis: who knows where a session is, when instances come and go, gateways
# are started anew, and Redis is away, slow or empty.

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

my @agents = map { $t->agent(id => "a.$_", socket => "a.$_.sock") } 1 .. 4;
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->plan(30);

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

    upstream agents {
        corral;
        corral_balance  least_conn;
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

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF
}

$store->epoch('first');
$store->commit((map { $store->service($_->[0], affinity => $_->[1],
        affinity_ttl => $_->[2] // '1h') }
    ['header', 'header.X-Chat'], ['query', 'query.chat'],
    ['session', 'session'], ['client', 'client_ip'],
    ['short', 'query.chat', '1s']),
    map { my $s = $_; map { instance($s, $_) } 1 .. 3 }
        qw/header query session client short/);

$_->run() for $t, $second;
$store->wait_acks(4, 1) // die "The gateways do not follow\n";

###############################################################################

# one session, one instance: on all workers of both gateways

for (['header', sub { ('', "X-Chat: $_[0]") }],
    ['query', sub { ("&chat=$_[0]") }],
    ['session', sub { ("&session_id=$_[0]") }])
{
    my ($service, $name) = @$_;
    my (%wrong, %used);

    for my $chat (map { "chat-$_" } 1 .. 20) {
        my ($query, @headers) = $name->($chat);
        my %seen = map { agent("/?service=$service$query", $_ % 2 ? 8080 : 8090,
            @headers) => 1 } 1 .. 6;
        $wrong{$chat} = join ' ', keys %seen if keys %seen != 1;
        $used{$_} = 1 for keys %seen;
    }

    is_deeply(\%wrong, {}, "by $service");
    is(keys %used, 3, 'sessions spread');
}

is(keys %{ { map { agent('/?service=client', $_ % 2 ? 8080 : 8090) => 1 }
    1 .. 8 } }, 1, 'by address');

my @free = map { $t->websocket('/?service=query') } 1 .. 12;
is(keys %{ { map { $_->ask('!id') => 1 } @free } }, 3,
    'without a session it goes anywhere');
$_->close() for @free;

my $ws = $t->websocket('/?service=query&chat=ws-1');
my $id = $ws->ask('!id');
$ws->close();
$ws = $t->websocket('/?service=query&chat=ws-1', port => port(8090));
is($ws->ask('!id'), $id, 'a WebSocket resumes, in the other gateway');
$ws->close();

# Redis has them, with their time

my ($key) = grep { $store->command('GET', $_) =~ /^a\.\d\.query:1$/ }
    @{ $store->command('KEYS', $store->key('session', '*')) };
ok($key, 'sessions are in Redis');
cmp_ok($store->command('PTTL', $key // ''), '>', 3_500_000, 'for an hour');

# one more instance moves no session, also not for a gateway that has not seen
# it yet: the hash alone would

my %where = map { $_ => agent("/?service=query&chat=new-$_") } 1 .. 60;
$store->commit(instance('query', 4));
$store->wait_acks(4, 2);

is(moved('query', 'new', 8090), 0, 'scaled out: the other gateway asks');
is(moved('query', 'new', 8080), 0, 'this one knows');
is(scalar(grep { agent("/?service=query&chat=later-$_") eq 'a.4' } 1 .. 40) > 0,
    1, 'new ones use it');

# a gateway has forgotten everything: Redis knows

anew(2);
is(moved('query', 'new', 8090), 0, 'a gateway that was started anew asks');

# drains: sessions stay, in both

$store->commit(instance('query', 1, state => 'draining'));
$store->wait_acks(4, 3);
is(moved('query', 'new', 8080) + moved('query', 'new', 8090), 0,
    'a draining instance keeps its sessions');
is(scalar(grep { agent("/?service=query&chat=drain-$_") eq 'a.1' } 1 .. 30), 0,
    'and gets no new one');

# gone: they go elsewhere, once, and are found there

$store->commit([ 'instance', 'a.1.query' ]);
$store->wait_acks(4, 4);

my %now = map { $_ => agent("/?service=query&chat=new-$_") } 1 .. 60;
is(scalar(grep { $where{$_} ne 'a.1' && $now{$_} ne $where{$_} } 1 .. 60), 0,
    'others are not touched');
%where = %now;
$store->commit(instance('query', 1));
$store->wait_acks(4, 5);
is(moved('query', 'new', 8080), 0, 'those that moved stay where they are');

# the other gateway has known them there, and has not asked since

my $moved;
wait_for(sub { ($moved = moved('query', 'new', 8090)) == 0 }, 15);
is($moved, 0, 'gateways agree within ten seconds');

# another incarnation does not know them

my ($chat) = grep { $where{$_} eq 'a.2' } 1 .. 60;
$store->commit(instance('query', 2, incarnation => 2));
$store->wait_acks(4, 6);
agent("/?service=query&chat=new-$chat");
is($store->command('GET', session_key('new-' . $chat)) =~ /^a\.2\.query:1$/ ? 1
    : 0, 0, 'another incarnation is another owner');

# their time ends

my $first = agent('/?service=short&chat=x');
is(scalar @{ $store->command('KEYS', $store->key('session', '*')) } > 0, 1,
    'kept');
ok(wait_for(sub { !grep { ($store->command('GET', $_) // '') =~ /short/ }
    @{ $store->command('KEYS', $store->key('session', '*')) } }, 5),
    'forgotten after its time');

# nonsense in Redis is nobody's session

my %bad;
for (['nonsense', 'x'], ['long', 'a' x 5000], ['gone', 'a.9.query:1'],
    ['other service', 'a.3.header:1'], ['number', 'a.3.query:x'],
    ['negative', 'a.3.query:-1'], ['empty', ''])
{
    my ($what, $value) = @$_;
    my $n = scalar keys %bad;
    my $s = "bad-$n";
    agent("/?service=query&chat=$s");
    my $k = session_key($s);
    $store->command('SET', $k, $value);
    anew(6);
    $bad{$what} = agent("/?service=query&chat=$s", 8090);
}
is(scalar(grep { /^a\.\d$/ } values %bad), 7, 'nonsense is not believed');

# Redis stands still: new sessions wait 20 ms for it and no longer, and go where
# the hash says; it is gone: they do not wait

my ($pid) = $store->command('INFO', 'server') =~ /process_id:(\d+)/;
kill 'STOP', $pid;
my $begin = time();
my %a = map { $_ => agent("/?service=query&chat=still-$_") } 1 .. 10;
my $took = time() - $begin;
cmp_ok($took, '>=', 0.2, 'each waits its 20 ms');
cmp_ok($took, '<', 2, 'and no longer');
my %b = map { $_ => agent("/?service=query&chat=still-$_", 8090) } 1 .. 10;
is_deeply(\%b, \%a, 'both gateways guess the same');
my %c = map { $_ => agent("/?service=query&chat=still-$_") } 1 .. 10;
is_deeply(\%c, \%a, 'and remember it');
kill 'CONT', $pid;

ok(wait_for(sub { agent('/?service=query&chat=back') && eval {
    $store->command('PING') } }, 10), 'Redis goes on');

# a client that leaves while Redis is asked

kill 'STOP', $pid;
for (1 .. 5) {
    my $s = http("GET /?service=query&chat=left-$_ HTTP/1.1\r\nHost: a\r\n\r\n",
        start => 1);
    close $s;
}
is(agent('/?service=query&chat=stays') =~ /^a\.\d$/ ? 1 : 0, 1,
    'clients that left are forgotten');
kill 'CONT', $pid;

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

sub agent {
    my ($uri, $port, @headers) = @_;
    my $r = http_get($uri, port => $port // 8080, headers => \@headers);
    return $r =~ /"agent":"([^"]+)"/ ? $1 : $r;
}

# How many of these sessions are not where they were.

sub moved {
    my ($service, $name, $port) = @_;
    return scalar grep {
        agent("/?service=$service&chat=$name-$_", $port) ne $where{$_}
    } 1 .. 60;
}

# The key of a session: the one that appears when it is used.

sub session_key {
    my ($chat) = @_;
    my %before = map { $_ => $store->command('GET', $_) }
        @{ $store->command('KEYS', $store->key('session', '*')) };
    my $owner = agent("/?service=query&chat=$chat");
    my ($key) = grep { $before{$_} =~ /^\Q$owner\E\.query:/ } keys %before;
    return $key // $store->key('session', '0' x 16);
}
