#!/usr/bin/perl

# Tests for a worker that is killed: what it held is given back within a second,
# the other worker's connections go on.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Time::HiRes qw//;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'echo.1', port => 8081);

$t->state_file(services => [ { name => 'echo' } ],
    instances => [ $agent->instance('echo') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(11);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        location / {
            corral_service_from  path;
            corral_websocket     agents;
        }

        location = /status { corral_status; }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# connections on both workers: each new one goes to one of them

my @ws = map { $t->websocket('/agents/echo/') } 1 .. 20;
is($t->wait_for_counts({ 'echo.1' => 20 })->{'echo.1'}, 20, 'before');

my %held = map { $_ => sockets($_) } $t->workers();
my ($victim) = sort { $held{$b} <=> $held{$a} } keys %held;
my ($other) = grep { $_ != $victim } keys %held;

is($held{$victim} + $held{$other}, 40, 'all are held by the workers');

$t->expect_alert(qr/worker process $victim exited on signal 9/);
kill 'KILL', $victim;

# its clients are disconnected, the others are not

ok(wait_for(sub { !Test::Corral::alive($victim) }), 'killed');

my @lost = grep { $_->ended(0.02) } @ws;
is(scalar @lost, $held{$victim} / 2, 'its clients are disconnected');

my $start = Time::HiRes::time();
my $left = 20 - @lost;
is($t->wait_for_counts({ 'echo.1' => $left })->{'echo.1'}, $left,
    'its counts are given back');
cmp_ok(Time::HiRes::time() - $start, '<', 1.5, 'within a second');

is(join('', map { $_->numbered(3) } grep { !$_->ended(0) } @ws), '',
    'others go on');
is($agent->stats()->{websockets}, $left, 'agent agrees');

# a new worker takes its place

ok(wait_for(sub { $t->workers() == 2 }), 'new worker');
my @new = map { $t->websocket('/agents/echo/') } 1 .. 10;
is(scalar(grep { $_->numbered(1) eq '' } @new), 10, 'new connections');
is($t->wait_for_counts({ 'echo.1' => $left + 10 })->{'echo.1'}, $left + 10,
    'counted');

###############################################################################

# connected sockets of a worker: two for each WebSocket

sub sockets {
    my ($pid) = @_;

    my ($real, $behind) = map { sprintf ':%04X', $_ } port(8080), port(8081);
    my %connected;

    open my $fh, '<', '/proc/net/tcp' or die "No /proc/net/tcp: $!\n";

    while (my $line = <$fh>) {
        my @f = split ' ', $line;
        $connected{$f[9]} = 1 if $f[3] eq '01'
            && ($f[1] =~ /$real$/ || $f[2] =~ /$behind$/);
    }

    return scalar grep {
        (readlink($_) // '') =~ /^socket:\[(\d+)\]$/ && $connected{$1}
    } glob "/proc/$pid/fd/*";
}

###############################################################################
