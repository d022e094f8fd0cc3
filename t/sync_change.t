#!/usr/bin/perl

# Tests for corral_redis: a change in the store is served by all workers within
# milliseconds and without a reload; what is missing or broken does no harm.

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

my $store = Test::Corral::Store->new($t->redis());

$t->write_file_expand('nginx.conf', <<'EOT')->plan(20);

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

$store->epoch('first');
$store->commit($store->service('one'), $store->instance('one', 'one.1', $address));

$t->run();

ok(defined $store->wait_acks(2, 1), 'both workers have loaded');
like(http_get('/agents/one/'), qr/ 200 /, 'served');
like(http_get('/agents/two/'), qr/ 404 /, 'unknown service');

# a change: from the commit until the last worker serves from it

my (@ms, $revision);

for (1 .. 50) {
    $revision = $store->commit($store->instance('one', "more.$_", $address));
    push @ms, $store->wait_acks(2, $revision) // 10000;
}

@ms = sort { $a <=> $b } @ms;
note(sprintf 'change to acknowledgement of 2 workers: median %.1f ms, '
    . 'worst of 50 %.1f ms', @ms[25, 49]);

cmp_ok($ms[25], '<', 50, 'live within 50 ms');
cmp_ok($ms[49], '<', 1000, 'none is late');
is(scalar keys %{ $t->counts() }, 51, 'all instances are there');

# the lease and the stream say the same

is(join(' ', map { $_->{revision} } values %{ $store->workers() }),
    "$revision $revision", 'leases name the revision');

# one commit of many documents, and many commits

$revision = $store->commit(map { [ 'instance', "more.$_" ] } 1 .. 50);
ok(defined $store->wait_acks(2, $revision), 'deletions');
is(join(' ', keys %{ $t->counts() }), 'one.1', 'deleted ones are gone');

$revision = $store->commit($store->instance('one', "many.$_", $address))
    for 1 .. 300;
ok(defined $store->wait_acks(2, $revision), 'a burst of changes');
is(scalar keys %{ $t->counts() }, 301, 'nothing of it is lost');

$store->commit(map { [ 'instance', "many.$_" ] } 1 .. 300);

# a broken document leaves the one before in force

$revision = $store->commit(
    $store->instance('one', 'one.1', $address, weight => -5),
    $store->service('two'), $store->instance('two', 'two.1', $address));
ok(defined $store->wait_acks(2, $revision), 'applied beside a broken one');
like($t->wait_for_log(qr/document refused: .*/), qr/one\.1.*weight/,
    'it is named in the log');
like(http_get('/agents/one/'), qr/ 200 /, 'the one before stays in force');
like(http_get('/agents/two/'), qr/ 200 /, 'the other one is served');

# a revision that is skipped: everything is loaded anew

$store->command('HSET', $store->key('services'), 'id-three',
    '{"service_id":"id-three","name":"three","desired":"running"}');
$store->command('INCR', $store->key('revision'));
$revision = $store->commit($store->instance('three', 'three.1', $address));

ok(defined $store->wait_acks(2, $revision), 'a gap');
like($t->wait_for_log(qr/a change of revision .*/), qr/loaded anew/,
    'is seen');
like(http_get('/agents/three/'), qr/ 200 /, 'what came without a change');

# the store is ahead and no change says so

$store->command('HSET', $store->key('services'), 'id-four',
    '{"service_id":"id-four","name":"four","desired":"running"}');
$revision = $store->command('INCR', $store->key('revision'));
ok(defined $store->wait_acks(2, $revision, 10), 'lost changes are found');
like(http_get('/agents/four/'), qr/ 503 /, 'and made good');

###############################################################################
