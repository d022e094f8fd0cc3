#!/usr/bin/perl

# Tests for what workers tell through Redis: leases, the list of connections,
# answers to commands, and what of it is left after a reload or a killed worker.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket redis-server/);

my $agent = $t->agent(id => 'one.1', port => 8081);

my $store = Test::Corral::Store->new($t->redis());

$t->write_file_expand('nginx.conf', <<'EOT')->plan(44);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone     corral 4m;
    corral_redis    unix:%%TESTDIR%%/redis.8379.sock;
    corral_node     node-a;
    corral_gateway  gate-a;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

EOT

$store->epoch('first');
$store->commit($store->service('one'),
    $store->instance('one', 'one.1', '127.0.0.1:' . port(8081)));

$t->run();
$store->wait_acks(2, 1);

# leases

my $leases = $store->workers();
is(scalar keys %$leases, 2, 'a lease for each worker');

for my $pid ($t->workers()) {
    my ($id) = grep { /^gate-a:$pid:\d+$/ } keys %$leases;
    my $lease = $leases->{ $id // '' } // {};

    is($lease->{worker}, $id, 'name');
    is("$lease->{gateway} $lease->{node} $lease->{pid} $lease->{state}",
        "gate-a node-a $pid serving", 'who it is');
    is("$lease->{epoch} $lease->{revision} $lease->{services} "
        . "$lease->{instances}", 'first 1 1 1', 'what it serves');
    like($lease->{zone}, qr/^[0-9a-f]{16}$/, 'zone');

    open my $fh, '<', "/proc/$pid/stat";
    my @stat = split / /, (<$fh> =~ s/.*\) //r);
    is($lease->{start_time}, $stat[19], 'start time');

    my $ttl = $store->command('PTTL', $store->key('worker', $id));
    cmp_ok($ttl, '>', 5000, 'it is renewed');
    cmp_ok($ttl, '<=', 10000, 'and expires');
}

# connections

my @ws = map { $t->websocket("/agents/one/sub/path?x=$_",
    headers => [ "User-Agent: \xff\"agent\\\t", "X: y" ]) } 1 .. 30;
$_->ask('hello') for @ws;

ok(wait_for(sub { $store->connections() == 30 }), 'connections are published');

my ($c) = grep { $_->{messages_in} } $store->connections();
ok(wait_for(sub { ($c) = grep { $_->{messages_in} } $store->connections() }),
    'with their counts');

is("$c->{service} $c->{target_service_id} $c->{instance_id} $c->{status}",
    'one id-one one.1 active', 'service and instance');
is("$c->{client_ip} $c->{gateway}", '127.0.0.1 gate-a', 'client and gateway');
like($c->{user_agent}, qr/^\?"agent\\/, 'a name that is no UTF-8');
like($c->{path}, qr{^/agents/one/sub/path}, 'path');
like($c->{connected_at}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'time');
like($c->{connection_id}, qr/^[0-9a-f]{16}$/, 'id');
is($c->{subject}, undef, 'nobody is null');
ok(wait_for(sub { 30 == sum('connections', values %{ $store->workers() }) }),
    'leases count them');

$_->close() for splice @ws, 0, 10;
ok(wait_for(sub { $store->connections() == 20 }), 'closed ones are taken out');

# commands

sub sum { my $k = shift; my $n = 0; $n += $_->{$k} // 0 for @_; return $n }

my %close = (op => 'close', code => 1012, reason => 'moved');

my @a = $store->order(2, %close, filter => '{"service_id":"id-one"}',
    dry_run => 1);
is(join(' ', map { sum($_, @a) } qw/matched closed/), '20 0', 'a dry run');

@a = $store->order(2, %close, filter => '{"service_id":"id-two"}');
is(join(' ', scalar @a, sum('matched', @a)), '2 0', 'nothing matches');

@a = $store->order(2, %close, filter => '{"gateway":"gate-b"}');
is(join(' ', scalar @a, sum('matched', @a)), '2 0', 'another gateway');

@a = $store->order(2, %close, filter => '{"colour":"red"}');
is(join(' ', sum('closed', @a), grep { /unknown member/ }
    map { $_->{error} // '' } @a), '0 unknown member in filter '
    . 'unknown member in filter', 'an unknown member closes nothing');

@a = $store->order(2, op => 'dance', filter => '{}');
like($a[0]{error}, qr/unknown op/, 'unknown op');

@a = $store->order(2, %close, code => 1006, filter => '{}');
like($a[0]{error}, qr/code is to be/, 'a code that nobody may send');

@a = $store->order(2, %close, filter => 'no');
like($a[0]{error}, qr/filter is to be/, 'no filter');

my ($one) = map { $_->{connection_id} } $store->connections();
# each client has to answer the Close that it gets

sub codes { join ' ', grep { $_ } map { $_->close_code(0.2) } @_ }

my $codes;

@a = $store->order(2, sub { $codes = codes(@ws) }, %close,
    filter => "{\"connection_id\":\"$one\"}");
is(join(' ', map { sum($_, @a) } qw/matched closed sent/), '1 1 1',
    'one connection');
is($codes, '1012', 'gets the code');

@a = $store->order(2, sub { $codes = codes(@ws) }, %close,
    filter => '{"service_id":"id-one"}');
is(join(' ', map { sum($_, @a) } qw/matched closed sent/), '19 19 19',
    'all of a service');
ok(wait_for(sub { !$store->connections() }), 'the list is empty');

# a reload: the old worker lists its connection and hears commands until the end

my $old = $t->websocket('/agents/one/');
$old->ask('hello');
wait_for(sub { $store->connections() == 1 });

$t->reload();

ok(wait_for(sub {
    grep { $_->{state} eq 'exiting' } values %{ $store->workers() } }),
    'an old worker says so');

$store->commit($store->service('two'));
ok(defined $store->forget()->wait_acks(3, 2), 'it follows the store');

@a = $store->order(3, sub { codes($old) }, %close, filter => '{}');
is(join(' ', map { sum($_, @a) } qw/matched closed sent/), '1 1 1',
    'and hears commands');

ok(wait_for(sub { !$t->workers(1) }), 'it leaves at once');
ok(wait_for(sub { keys %{ $store->workers() } == 2 }, 2),
    'its lease is gone with it');

# a killed worker leaves a lease that ends

$t->expect_alert(qr/exited on signal 9/);
kill 'KILL', ($t->workers())[0];
ok(wait_for(sub { 3 == keys %{ $store->workers() } }), 'killed');
ok(wait_for(sub { 2 == keys %{ $store->workers() } }, 12), 'its lease ends');
$t->wait_for_log(qr/exited on signal 9/);

###############################################################################
