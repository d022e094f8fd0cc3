#!/usr/bin/perl

# Tests for the queue of the wait step over several workers: a place that one
# gives back is taken by another, limits are those of all together, and what a
# dead or an old worker held or waited for is not forgotten.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status corral_websocket/);

my $agent = $t->agent(id => 'one.1', socket => 'one.sock');

$t->state_file(
    services => [ { name => 'one', max_sessions => 1, queue_size => 100 },
        { name => 'five', max_sessions => 5, queue_size => 100 } ],
    instances => [ $agent->instance('one'),
        $agent->instance('five', id => 'five.1') ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(22);

%%TEST_GLOBALS%%

worker_processes  3;

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

        corral_service_from  path;

        location / {
            corral_websocket  agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# a place that one worker gives back is taken by another

my ($a, $b, $c) = $t->workers();

my $held = by($a, '/agents/one/');
my $waits = by($b, '/agents/one/', start => 1);
my $behind = by($c, '/agents/one/', start => 1);

is(waiting('one', 2), 2, 'two workers have somebody that waits');
$held->close();

my $next = (ready($waits, $behind))[0];
is($next->handshake()->status(), 101, 'one of them gets the place');
is(service('one')->{active}, 1, 'it alone');
is(waiting('one', 1), 1, 'the other one waits on');

$next->close();
($next) = grep { $_ != $next } $waits, $behind;
is($next->handshake()->status(), 101, 'and gets it then');
$next->close();

# at no time more than the limit, however many come at once

my @ws = map { $t->websocket('/agents/five/', start => 1) } 1 .. 60;
my ($most, $served) = (0, 0);

is(waiting('five', 55), 55, 'all but five wait');

while (@ws) {
    my @now = ready(@ws) or last;
    $_->handshake()->status() == 101 && $served++ for @now;

    my $open = $agent->stats()->{websockets};
    $most = $open if $open > $most;

    my %now = map { $_ => 1 } @now;
    @ws = grep { !$now{$_} } @ws;
    $_->close() for @now;
}

is($served, 60, 'all were served');
is($most, 5, 'five at a time');
is(service('five')->{queued}, 55, 'waiting was counted');

# what a killed worker held is given to those that wait

$held = by($a, '/agents/one/');
$waits = by($b, '/agents/one/', start => 1);
is(waiting('one', 1), 1, 'waits for what another worker holds');

$t->expect_alert(qr/worker process ($a|$c) exited on signal 9/);
kill 'KILL', $a;
is($waits->handshake()->status(), 101, 'the place of a killed worker');
is(service('one')->{active}, 1, 'is one place');

# what waited in a killed worker does not wait any more

($a) = grep { $_ != $b && $_ != $c } wait_for(sub { my @w = $t->workers();
    @w == 3 ? \@w : undef })->@*;
my $lost = by($c, '/agents/one/', start => 1);
is(waiting('one', 1), 1, 'waits in a worker that will be killed');
kill 'KILL', $c;
is(waiting('one', 0), 0, 'its waiting is over');

# a reload: those that wait in old workers are served, by what new ones give
# back, too

my $old = by($b, '/agents/one/old', start => 1);
is(waiting('one', 1), 1, 'waits before the reload');
$t->reload();
is(service('one')->{waiting}, 1, 'and behind it');
my $new = $t->websocket('/agents/one/new', start => 1);
is(waiting('one', 2), 2, 'as does one in a new worker');

$waits->close();
($next) = ready($old, $new);
is($next->handshake()->status(), 101, 'one of them is served');
$next->close();
($next) = grep { $_ != $next } $old, $new;
is($next->handshake()->status(), 101, 'the other one, too');
is($next->ask('hello'), 'hello', 'and works');
$next->close();

ok(wait_for(sub { !$t->workers(1) }), 'old workers end');

# a stop ends waiting at once

$held = $t->websocket('/agents/one/');
my $last = $t->websocket('/agents/one/', start => 1);
is(waiting('one', 1), 1, 'waits when nginx is stopped');

###############################################################################

# A WebSocket that this worker accepts: the others are stopped meanwhile.

sub by {
    my ($pid, $path, %opt) = @_;

    my @others = grep { $_ != $pid } $t->workers();

    kill 'STOP', @others;
    wait_for(sub { !grep { state($_) ne 'T' } @others })
        or die "@others are not stopped\n";
    my $before = service('one');
    my $ws = $t->websocket($path, %opt);
    wait_for(sub {
        my $now = service('one');
        $now->{active} + $now->{waiting} > $before->{active}
            + $before->{waiting};
    }) or die "$path is not seen\n";
    kill 'CONT', @others;

    return $ws;
}

sub state {
    my ($pid) = @_;
    open my $fh, '<', "/proc/$pid/stat" or return '';
    return <$fh> =~ /^\d+ \(.*\) (\S)/s ? $1 : '';
}

sub service {
    my ($name) = @_;
    return (grep { $_->{name} eq $name } @{ $t->status()->{services} })[0];
}

sub waiting {
    my ($name, $n) = @_;
    my $now;
    wait_for(sub { ($now = service($name)->{waiting}) == $n });
    return $now;
}

# Those that have got an answer, when there is one.

sub ready {
    my @ws = @_;
    my %by = map { $_->{socket} => $_ } @ws;
    return map { $by{$_} }
        IO::Select->new(map { $_->{socket} } @ws)->can_read(5);
}
