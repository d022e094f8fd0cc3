#!/usr/bin/perl

# The third walk: deaths.  Before each, exact counts from two sources, clients
# that are affected and clients that are not; after it, the others have lost
# nothing, new clients were served all the time, and what died is back.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

$t->plan(24 + 3);
$s->start(2);

my @i = $s->echo('echo', 2, restart_delay => '100ms', balance => 'round_robin');
is(scalar @i, 2, 'two instances');

my %sent;

###############################################################################

# 1. an agent is killed: its clients are told, the others go on

my @ws = clients(10);
my %on = by_instance(@ws);

same_counts('before the kill', 10);
is(scalar keys %on, 2, 'clients on both instances');

my ($victim) = $i[0];
my @affected = @{ $on{ $victim->{instance_id} } };
my @others = @{ $on{ $i[1]{instance_id} } };

say_numbers($_, 25) for @ws;

my $t0 = time();
kill 'KILL', $victim->{pid};

# new clients, from the very moment

is(serve(20), 20, 'new clients are served');

my @codes = map { $_->close_code() } @affected;
is(scalar(grep { $_ == 1011 || $_ == 1001 } @codes), scalar @affected,
    'the affected are told');
cmp_ok(time() - $t0, '<', 5, 'soon');

hear_numbers($_, 'others', 25) for @others;

my @back = $d->wait_instances('echo', sub {
    2 == grep { $_->{state} eq 'running' && $_->{health} eq 'healthy' } @_
}, 20);
is(scalar @back, 2, 'it is back');
my ($again) = grep { $_->{instance_id} eq $victim->{instance_id} } @back;
is($again->{incarnation}, $victim->{incarnation} + 1, 'in its next incarnation');
is($again->{exit_signal}, 9, 'and what ended it is known');
same_counts('after the kill', scalar @others);

# 2. corrald is killed: nothing happens to anybody, and it adopts all

@ws = (@others, clients(4));
same_counts('before corrald ends', scalar @ws);
say_numbers($_, 25) for @ws;

my @pids = sort map { $_->{pid} } $d->instances('echo');

$d->kill('KILL');
is(serve(20), 20, 'new clients are served without corrald');
hear_numbers($_, 'without corrald', 25) for @ws;

$d->start();
my @adopted = $d->wait_instances('echo', sub {
    2 == grep { $_->{state} eq 'running' } @_ }, 20);
is_deeply([ sort map { $_->{pid} } @adopted ], \@pids,
    'the same processes, none twice');
same_counts('after corrald is back', scalar @ws);

# 3. Redis is killed: the last good registry serves; corrald starts it again

say_numbers($_, 25) for @ws;
kill 'KILL', $d->_redis_pid();
delete $d->{redis_pid};

is(serve(20), 20, 'new clients are served without Redis');
hear_numbers($_, 'without Redis', 25) for @ws;

ok(wait_for(sub {
    2 == grep { $_->{state} eq 'serving' } $s->workers() }, 30),
    'workers and corrald are back on Redis');
is_deeply([ sort map { $_->{pid} } $d->instances('echo') ], \@pids,
    'nothing was started anew');
same_counts('after Redis is back', scalar @ws);

# 4. a shim is killed: its agent goes with it, there is no second copy

my ($i) = $d->instances('echo');
my ($shim) = $d->shim($i->{instance_id});
ok($shim, 'the shim is found');
kill 'KILL', $shim;
ok(wait_for(sub { !-e "/proc/$i->{pid}" }, 10), 'the agent went with it');

@back = $d->wait_instances('echo', sub {
    2 == grep { $_->{state} eq 'running' && $_->{health} eq 'healthy'
        && $_->{pid} != $i->{pid} } @_
}, 30);
is(scalar @back, 2, 'back, as another process');
is(serve(20), 20, 'new clients are served');

# in the end everything is zero

$_->close() for grep { !$_->{closed} } @ws;
ok(wait_for(sub { !grep { $_ } values %{ $s->counted('echo') } }),
    'no connection is counted');
ok(wait_for(sub { !%{ $s->listed('echo') } }), 'and none is listed');

$s->finish();

###############################################################################

sub clients {
    my ($n) = @_;
    return map { $t->websocket('/agents/echo/', timeout => 10) } 1 .. $n;
}

# The clients by their instance, as the list of connections has them.

sub by_instance {
    my $n = @_;
    my %by_port = map { $_->socket()->sockport() => $_ } @_;
    my %by;

    wait_for(sub {
        %by = ();

        for (@{ $d->api('GET', '/connections?limit=1000')->{items} }) {
            my $ws = $by_port{ $_->{client_port} } or next;
            push @{ $by{ $_->{instance_id} } }, $ws;
        }

        $n == map { @$_ } values %by;
    });

    return %by;
}

# Both sources, gateway and list, say n in all and the same for each instance.

sub same_counts {
    my ($name, $n) = @_;

    my ($counted, $listed);

    ok(wait_for(sub {
        $counted = $s->counted('echo');
        $listed = $s->listed('echo');

        my ($a, $b) = (0, 0);
        $a += $_ for values %$counted;
        $b += $_ for values %$listed;

        $a == $n && $b == $n
            && !grep { ($counted->{$_} // 0) != ($listed->{$_} // 0) }
                keys %$counted, keys %$listed;
    }, 15), "$name: $n from two sources")
        or diag(explain($counted, $listed));
}

sub say_numbers {
    my ($ws, $n) = @_;
    $ws->send_text('n' . ++$sent{$ws}) for 1 .. $n;
}

# Every number comes back once, in order.

sub hear_numbers {
    my ($ws, $name, $n) = @_;

    my @got = map { my $f = $ws->read_frame(10); $f ? $f->{payload} : 'none' }
        1 .. $n;
    my @wanted = map { "n$_" } $sent{$ws} - $n + 1 .. $sent{$ws};

    return if "@got" eq "@wanted";
    fail("$name: got @got");
}

# New clients, each with one exchange: how many were served.

sub serve {
    my ($n) = @_;

    return scalar grep {
        my $ws = eval { $t->websocket('/agents/echo/', timeout => 10) };
        my $ok = $ws && ($ws->ask("hello $_") // '') eq "hello $_";
        $ws->close() if $ws;
        $ok;
    } 1 .. $n;
}
