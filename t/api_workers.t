#!/usr/bin/perl

# What is asked of nginx workers, played here by a client of Redis that has a
# gateway's rights and no more: ?wait=applied, lists of connections, closing
# them, gateways; and what a gateway must not do.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Time::HiRes qw/time/;

use Test::Corral::Rest;
use Test::Corral::Shim qw/slurp/;

my $d = Test::Corral::Rest->new()->start();
my $redis = $d->redis('gateway');
my $epoch = $redis->command('GET', $redis->key('epoch'));
my $r;

sub lease {
    my ($worker, $revision) = @_;

    $redis->command('SADD', $redis->key('workers'), $worker);
    $redis->command('HSET', $redis->key('worker', $worker), worker => $worker,
        gateway => 'g1', node => 'n1', state => 'serving', epoch => $epoch,
        revision => $revision, connections => 1);
    $redis->command('PEXPIRE', $redis->key('worker', $worker), 30000);
}

# Answers the next command, in a child, as this worker.

sub answer_next {
    my ($worker, %answer) = @_;

    my $pid = fork() // die;
    return $pid if $pid;

    my $own = $d->redis('gateway');
    my $got = $own->command('XREAD', 'BLOCK', 5000, 'STREAMS',
        $own->key('commands'), '$');
    my %command = @{ $got->[0][1][0][1] };

    $own->command('RPUSH', $own->key('answers', $command{id}),
        encode_json({ worker => $worker, %answer, seen => \%command }));
    require POSIX;
    POSIX::_exit(0);
}

my $service = $d->call('POST', '/api/v1/services', { name => 'a' })->{json};

###############################################################################

# applied

$r = $d->call('PATCH', '/api/v1/services/a?wait=applied',
    { description => '1' });
is($r->{status}, 200, 'no worker: applied');
is($r->{json}{applied}{workers}, 0, 'by none');

lease('g1:1:1', 0);
lease('g1:2:2', 999999);

my $start = time();
$r = $d->call('PATCH', '/api/v1/services/a?wait=applied&timeout=1s',
    { description => '2' });
is($r->{status}, 202, 'one of two is late');
is_deeply($r->{json}{applied}{laggards}, ['g1:1:1'], 'and named');
is($r->{headers}{'corral-applied'}, 'false', 'header');
cmp_ok(time() - $start, '<', 3, 'in time');

my $pid = fork() // die;

if ($pid == 0) {
    my $own = $d->redis('gateway');
    my $got = $own->command('XREAD', 'BLOCK', 5000, 'STREAMS',
        $own->key('changes'), '$');
    my %change = @{ $got->[0][1][0][1] };
    $own->command('XADD', $own->key('acks'), '*', worker => 'g1:1:1',
        epoch => $epoch, revision => $change{revision});
    require POSIX;
    POSIX::_exit(0);
}

select undef, undef, undef, 0.3;
$start = time();
$r = $d->call('PATCH', '/api/v1/services/a?wait=applied&timeout=10s',
    { description => '3' });
is($r->{status}, 200, 'acknowledged');
is($r->{headers}{'corral-applied'}, 'true', 'applied');
cmp_ok(time() - $start, '<', 4, 'as soon as it is');
waitpid $pid, 0;

is($d->call('PATCH', '/api/v1/services/a?wait=soon', { description => '4' })
    ->{status}, 400, 'a wrong wait');
is($d->call('GET', '/api/v1/services/a')->{json}{description}, '3',
    'changes nothing');

# gateways

$r = $d->call('GET', '/api/v1/gateways');
is($r->{json}{total}, 2, 'two workers');
ok(!$r->{json}{items}[0]{applied}, 'one is behind');
ok($r->{json}{items}[1]{applied}, 'the other is not');

# connections

my $n = 0;

for my $worker ('g1:1:1', 'g1:2:2') {
    $redis->command('HSET', $redis->key('connections', $worker),
        map { my $id = sprintf '%016x', ++$n; ($id, encode_json({
            connection_id => $id, worker => $worker, gateway => 'g1',
            target_service_id => $service->{service_id}, service => 'a',
            instance_id => "a.$_", session_id => undef, client_ip => '1.2.3.4',
            status => 'active', connected_at => "2026-01-01T00:00:0$_.000Z",
            messages_in => 1, bytes_received => 10, bytes_sent => 20,
            message_count => 2 })) } 1 .. 3);
}

my $end = time() + 3;
do { $r = $d->call('GET', '/api/v1/connections') }
    while $r->{json}{total} < 6 && time() < $end;

is($r->{json}{total}, 6, 'the lists of all workers');
is($d->call('GET', '/api/v1/connections?instance_id=a.2')->{json}{total}, 2,
    'of an instance');
is($d->call('GET', '/api/v1/connections?service=a&worker=g1:1:1')
    ->{json}{total}, 3, 'of a service at a worker');
is($d->call('GET', '/api/v1/connections?service=b')->{json}{total}, 0,
    'of another');
is(@{ $d->call('GET', '/api/v1/connections?limit=4')->{json}{items} }, 4,
    'in pages');
is($d->call('GET', '/api/v1/services/a/stats')->{json}{active_connections}, 6,
    'counted for the service');
is($d->call('GET', '/api/v1/stats')->{json}{connections}{by_service}
    {$service->{service_id}}, 6, 'and for all');

# close

my @pids = (answer_next('g1:1:1', matched => 2, closed => 2, sent => 1),
    answer_next('g1:2:2', matched => 1, closed => 1, sent => 1));
select undef, undef, undef, 0.3;

$r = $d->call('POST', '/api/v1/connections/actions/close',
    { filter => { service => 'a' }, code => 1012, reason => 'moving' });
is_deeply($r->{json}, { workers => 2, answered => 2, missing => [],
    errors => [], matched => 3, closed => 3, sent => 2 }, 'answers are added up');
waitpid $_, 0 for @pids;

my $command = $d->redis('gateway')->command('XREVRANGE',
    $redis->key('commands'), '+', '-', 'COUNT', 1);
my %command = @{ $command->[0][1] };
is("$command{op} $command{code} $command{reason} $command{dry_run}",
    'close 1012 moving 0', 'the command');
is_deeply(decode_json($command{filter}),
    { service_id => $service->{service_id} }, 'a name became an id');
like($d->until($d->stream('/api/v1/events?follow=false'),
    qr/connections_closed/), qr/"closed":3/, 'an event');

my $only = answer_next('g1:1:1', matched => 0, closed => 0, sent => 0);
select undef, undef, undef, 0.3;
$r = $d->call('POST', '/api/v1/connections/actions/close',
    { filter => { connection_id => '00c0ffee00000001' },
        dry_run => JSON::PP::true });
is_deeply($r->{json}{missing}, ['g1:2:2'], 'who does not answer is named');
waitpid $only, 0;

for ([ {}, 'is empty' ], [ { filter => { colour => 'red' } }, 'must be' ],
    [ { filter => [] }, 'must be an object' ],
    [ { filter => { subject => '' } }, 'not empty' ],
    [ { filter => { subject => '' }, all => JSON::PP::true }, 'not empty' ],
    [ { filter => { connection_id => 'x' } }, '16 hexadecimal' ],
    [ { filter => { idle => 'long' } }, 'must be a duration' ],
    [ { filter => {}, all => JSON::PP::true, code => 1005 }, '1000, 1001' ],
    [ { filter => { service => 'nobody' } }, 'no service' ],
    [ { filter => {}, everything => JSON::PP::true }, 'not a member' ],
    [ { all => JSON::PP::true, reason => 'x' x 124 }, 'at most 123' ])
{
    $r = $d->call('POST', '/api/v1/connections/actions/close', $_->[0]);
    is($r->{status}, 422, "refused: $_->[1]");
    like($r->{body}, qr/\Q$_->[1]/, 'and why');
}

# a worker that is gone

$redis->command('DEL', $redis->key('worker', 'g1:2:2'));
$end = time() + 4;
do { $r = $d->call('GET', '/api/v1/gateways') }
    while $r->{json}{total} > 1 && time() < $end;
is($r->{json}{total}, 1, 'without a lease it is no worker');
like($d->until($d->stream('/api/v1/events?follow=false'), qr/gateway_gone/),
    qr/gateway_gone/, 'an event');
is(scalar @{ $redis->command('SMEMBERS', $redis->key('workers')) }, 1,
    'and its name is pruned');

# what a gateway must not do; the default user is one, too

for my $user ('gateway', undef) {
    my $who = $user // 'default';
    my $own = $d->redis($user);

    ok($own->command('GET', $own->key('epoch')), "$who reads the epoch");
    ok($own->command('HGET', $own->key('services'), $service->{service_id}),
        "$who reads services");

    for ([ 'HSET', $own->key('services'), 'x', '{}' ],
        [ 'SET', $own->key('epoch'), 'x' ],
        [ 'HGETALL', $own->key('macs') ], [ 'GET', $own->key('leader') ],
        [ 'DEL', $own->key('revision') ], [ 'KEYS', '*' ], ['FLUSHALL'],
        [ 'EVAL', 'return 1', 0 ], [ 'CONFIG', 'GET', 'dir' ],
        [ 'ACL', 'LIST' ], [ 'SET', 'other', 1 ],
        [ 'XADD', $own->key('commands'), '*', 'op', 'close' ])
    {
        ok(!eval { $own->command(@$_); 1 } && $@ =~ /NOPERM/,
            "$who may not: $_->[0]");
    }
}

like(slurp("$d->{dir}/s/gateway.url"),
    qr{^unix:\Q$d->{dir}\E/r/redis.sock\?user=gateway&password=\w{64}$}m,
    'what stands behind corral_redis');
is((stat "$d->{dir}/r/redis.sock")[2] & 07777, 0660, 'mode of the socket');
is((stat "$d->{dir}/r")[2] & 07776, 02750, 'and of its directory');

###############################################################################

$d->finish();

done_testing();
