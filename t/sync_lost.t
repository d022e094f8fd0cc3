#!/usr/bin/perl

# Tests for corral_redis when the store is killed, frozen, emptied or replaced:
# workers keep what they have, say so, and follow again.

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

my $t = Test::Corral->new()->has(qw/corral corral_redis redis-server/);

my $agent = $t->agent(id => 'one.1', port => 8081);
my $address = '127.0.0.1:' . port(8081);

my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<'EOT')->plan(22);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  unix:%%TESTDIR%%/redis.8379.sock;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            proxy_pass           http://agents;
        }

        location = /status { corral_status; }
    }
}

EOT

sub served { join ' ', map { http_get("/agents/$_/") =~ / 200 / ? $_ : () } @_ }
sub redis_is { my ($k, $v) = @_; wait_for(sub { !$t->status()->{redis}{$k} == !$v }, 10) }

$store->epoch('first');
$store->commit($store->service('one'), $store->instance('one', 'one.1', $address));

$t->run();
$store->wait_acks(2, 1);

is(served('one'), 'one', 'served');

# killed, and started anew without its data

$t->stop_daemon($t->{redis}{8379}, 'KILL');

ok(redis_is('connected', 0), 'the loss is seen');
is(served('one'), 'one', 'served without Redis');
like($t->wait_for_log(qr/corral-cmd\) (?:closed|cannot be conn).*/),
    qr/closed|cannot/, 'the loss is told');

unlink $redis;
$t->redis();
$store->connect();

ok(redis_is('connected', 1), 'connected again');
like($t->wait_for_log(qr/the store is not initialised.*/),
    qr/revision 1 stays in force/, 'an empty store is told');
ok(redis_is('initialised', 0), 'and is in the status');
is(served('one'), 'one', 'served with an empty store');

# another store: what it has is what counts

$store->forget();
$store->epoch('second');
$store->commit($store->service('two'), $store->instance('two', 'two.1', $address));
ok(defined $store->wait_acks(2, 1), 'another epoch');
is(served('one', 'two'), 'two', 'is served, the one before is not');
ok(redis_is('initialised', 1), 'initialised');

# frozen: no request waits, and a time-out ends the connection

kill 'STOP', $t->{redis}{8379};

my $reconnects = () = $t->read_file('error.log') =~ /did not answer in time/g;
my $slowest = 0;

ok(wait_for(sub {
    my $start = Time::HiRes::time();
    served('two') eq 'two' or return 'not served';
    my $took = Time::HiRes::time() - $start;
    $slowest = $took if $took > $slowest;
    return (() = $t->read_file('error.log') =~ /did not answer in time/g) >= 4;
}, 15), 'a frozen store is given up');

cmp_ok($slowest, '<', 1, 'requests do not wait for it');
note(sprintf 'slowest request while frozen: %.1f ms', 1000 * $slowest);

kill 'CONT', $t->{redis}{8379};

my $revision = $store->commit($store->service('three'),
    $store->instance('three', 'three.1', $address));
ok(defined $store->wait_acks(2, $revision, 20), 'follows after the freeze');
is(served('two', 'three'), 'two three', 'with its changes');

# emptied while it is followed, and filled with the same epoch

$store->command('FLUSHALL');
ok(redis_is('initialised', 0), 'emptied');
is(served('two', 'three'), 'two three', 'nothing is taken back');
ok(wait_for(sub { keys %{ $store->workers() } == 2 }), 'leases are there');

$store->forget();
$store->{acks} = '0-0';
$store->epoch('second');
$store->command('SET', $store->key('revision'), 50);
$revision = $store->commit($store->service('two'),
    $store->instance('two', 'two.1', $address));
ok(defined $store->wait_acks(2, $revision), 'restored');
is(served('two', 'three'), 'two', 'what was not restored is gone');

# it went back in time: an older snapshot

$store->command('SET', $store->key('revision'), 7);
$store->command('DEL', $store->key('changes'));
$store->forget();
ok(defined $store->wait_acks(2, 7), 'an older revision of the same epoch');
is(join(' ', map { $_->{revision} } values %{ $store->workers() }), '7 7',
    'is what the leases say');

###############################################################################
