#!/usr/bin/perl

# Tests for the counts of the whole cluster: two gateways on one Redis see what
# the other one holds, and it is right again behind a reload, a new binary, a
# killed worker, a killed gateway and without Redis.

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
my $other = Test::Corral->new();

my @agents = map { $t->agent(id => "a.$_", socket => "a.$_.sock") } 1 .. 3;
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->plan(30);

for ([ $t, 'one', 8080 ], [ $other, 'two', 8090 ]) {
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

        corral_service_from  query;

        location / {
            corral_websocket  agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }

        location = /metrics {
            corral_service  off;
            corral_metrics;
        }
    }
}

EOF
}

$store->epoch('first');
$store->commit($store->service('even'),
    $store->service('full', max_sessions => 2, queue_size => 10),
    $store->service('all', max_connections => 4),
    map { my $s = $_; map { $store->instance($s, "a.$_.$s",
        $agents[$_ - 1]->address()) } 1 .. 3 } qw/even full all/);

$_->run() for $t, $other;
$store->wait_acks(4, 1) // die "The gateways do not follow\n";

###############################################################################

# least connections: what the other gateway holds counts

my @ws = map { open_ws('even') } 1 .. 60;
my %held = map { $_->ask('!id') => 1 } @ws;
is_deeply([ sort keys %held ], [ qw/a.1 a.2 a.3/ ], 'one gateway spreads');

is(seen($other, 'even', 60), 60, 'the other one sees them');
is($other->status()->{services}[0] && service($other, 'even')->{active}, 0,
    'as not its own');
is(service($t, 'even')->{remote}, 0, 'nobody counts himself');

my %by = map { ("$_" => $_->ask('!id')) } @ws;
$_->close() for grep { $by{$_} eq 'a.2' } @ws;
@ws = grep { $by{$_} ne 'a.2' } @ws;
is(seen($other, 'even', scalar @ws), scalar @ws, 'closed ones are gone');

# of two that are drawn the free one is taken: 20 of 30 are to be expected, more
# than 11 but for one run in two thousand, and about 10 if nothing were known

my @new = map { open_ws('even', 8090) } 1 .. 30;
my %n;
$n{ $_->ask('!id') }++ for @ws, @new;
cmp_ok($n{'a.2'}, '>', 11, 'what the other one has left free is filled');

like(http_get('/metrics', port => 8090),
    qr/^corral_service_remote_connections\{service="even"\} [1-9]/m, 'metric');
like(http_get('/metrics', port => 8090),
    qr/^corral_instance_remote_connections\{service="even",instance="a\.1\.even"\} [1-9]/m,
    'of an instance');

$_->close() for @ws, @new;
is(seen($t, 'even', 0), 0, 'all are closed');

# limits hold for both together, as soon as the one has seen the other

my @full = map { open_ws('full') } 1 .. 6;
is(seen($other, 'full', 6), 6, 'one gateway has taken all places');

my $waits = open_ws('full', 8090, start => 1);
ok(wait_for(sub { service($other, 'full')->{waiting} == 1 }),
    'the other one lets nobody in');
$full[0]->close();
is($waits->handshake()->status(), 101, 'until a place is free');
$waits->close();

my @all = map { open_ws('all') } 1 .. 4;
is(seen($other, 'all', 4), 4, 'likewise of a service');
is(open_ws('all', 8090)->status(), 503, 'which is full');

# at once, neither has seen the other yet: each lets in what it has room for,
# and nobody behind that

$_->close() for @full, @all;
is(seen($t, 'full', 0) + seen($other, 'full', 0), 0, 'all places are free');

my @burst = map { open_ws('full', $_ % 2 ? 8080 : 8090, start => 1) } 1 .. 24;
ok(wait_for(sub { total('full') + waiting('full') == 24 }), 'a burst');
cmp_ok(total('full'), '<=', 12, 'at most twice the limit for two gateways');
cmp_ok(total('full'), '>=', 6, 'not less than the limit');
note('overshoot of a burst: ' . (total('full') - 6));

my $over = total('full');
is(seen($other, 'full', service($t, 'full')->{active}),
    service($t, 'full')->{active}, 'then they know');
is(total('full'), $over, 'and nobody more is let in');
$_->{socket}->close() for splice @burst;
ok(wait_for(sub { total('full') + waiting('full') == 0 }), 'all have left');

# behind a reload: old workers share the zone, so they are not counted twice

@ws = map { open_ws('even') } 1 .. 8;
is(seen($other, 'even', 8), 8, 'before');
$t->reload();
is(service($t, 'even')->{active} . ' ' . service($t, 'even')->{remote}, '8 0',
    'behind a reload');
push @ws, map { open_ws('even') } 1 .. 2;
is(seen($other, 'even', 10), 10, 'old and new ones together');

# a new binary has a new zone: what the old one holds is another gateway's

$t->upgrade();
is(seen($t, 'even', 10), 10, 'the new binary knows what the old one holds');
is(seen($other, 'even', 10), 10, 'the other gateway counts it once');

# without Redis nobody relies on it for long

$other->close_clients();
my ($pid) = $store->command('INFO', 'server') =~ /process_id:(\d+)/;
kill 'STOP', $pid;
is(seen($other, 'even', 0, 16), 0, 'without Redis it is forgotten');
kill 'CONT', $pid;
is(seen($other, 'even', 10, 10), 10, 'and known again');

# a gateway that is killed

# masters first: they would start workers anew

my $begin = time();
for my $what (qw/master worker/) {
    my @pids = processes($what);
    kill 'KILL', @pids;
    wait_for(sub { !grep { Test::Corral::alive($_) } @pids });
}
$t->{master} = undef;
is(seen($other, 'even', 0, 15), 0, 'a killed gateway holds nothing');
cmp_ok(time() - $begin, '<', 12, 'within its lease');

$other->stop();

###############################################################################

sub open_ws {
    my ($service, $port, %opt) = @_;
    return $t->websocket("/?service=$service", port => port($port // 8080),
        %opt);
}

sub service {
    my ($gateway, $name) = @_;
    return (grep { $_->{name} eq $name } @{ $gateway->status()->{services} })[0]
        // {};
}

# What a gateway knows of others, when it is this.

sub seen {
    my ($gateway, $name, $n, $timeout) = @_;
    my $now;
    wait_for(sub { ($now = service($gateway, $name)->{remote} // -1) == $n },
        $timeout // 5);
    return $now;
}

sub total {
    my ($name) = @_;
    return service($t, $name)->{active} + service($other, $name)->{active};
}

sub waiting {
    my ($name) = @_;
    return service($t, $name)->{waiting} + service($other, $name)->{waiting};
}

# Masters or workers of the first gateway, those of the old binary, too.

sub processes {
    my ($what) = @_;
    my $dir = $t->testdir();
    my @pids;

    for my $proc (glob '/proc/[0-9]*') {
        open my $fh, '<', "$proc/cmdline" or next;
        local $/;
        next unless (<$fh> // '') =~ /^nginx: $what process/;
        push @pids, $proc =~ /(\d+)$/
            if (readlink("$proc/fd/2") // '') =~ m{^\Q$dir\E/};
    }

    return @pids;
}
