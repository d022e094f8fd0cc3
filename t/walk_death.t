#!/usr/bin/perl

# The third walk: a death.  An agent is killed; the shim hears of it, corrald
# writes it down, the workers stop picking the instance, its clients are told,
# and it is picked again when its probe has passed.  The fault matrix, t/fault_*,
# has the same under load, and the other deaths.

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

$t->plan(14 + 3);
$s->start(2);

my ($one, $two) = $s->echo('echo', 2, restart_delay => '500ms',
    balance => 'round_robin');
my ($victim, $other) = map { $_->{instance_id} } $one, $two;

###############################################################################

# a client on each of the two

my @ws = map { $t->websocket('/agents/echo/', timeout => 10) } 1, 2;

ok(wait_for(sub { ($s->counted('echo')->{$victim} // 0) == 1
    && ($s->listed('echo')->{$victim} // 0) == 1 }), 'a client on one');
is($s->counted('echo')->{$other}, 1, 'and one on the other');

my $start = time();
kill 'KILL', $one->{pid};

# the worker sees the end of the connection: the client is told at once

my ($told) = grep { $_->close_code(0.5) } @ws;
my ($stays) = grep { !$told || $_ != $told } @ws;

like($told ? $told->close_code() : 'nothing', qr/^10[01]1$/,
    'its client is told');
cmp_ok(time() - $start, '<', 2, 'at once');
is($stays->ask('still here'), 'still here', 'the other one goes on');

# shim, corrald, Redis, worker: it is failed there, and nobody is sent to it

ok(wait_for(sub { $t->instance($victim)->{state} eq 'failed' }),
    'the gateway knows that it failed');
is(served(4), '4 by the other', 'new clients');

# after its delay it is started again, as its next incarnation; until its probe
# has passed it gets nothing

ok(wait_for(sub { $t->instance($victim)->{state} eq 'running' }, 20),
    'it runs again');
is($t->instance($victim)->{incarnation}, 2, 'in its next incarnation');
is(join(' ', map { $_->{reason} } history()),
    'killed backoff spawned probe_passed', 'its history says why');
is((history())[0]{message}, 'it was ended by signal KILL', 'in a sentence');

my @x = $d->wait_instances('echo', sub {
    2 == grep { $_->{state} eq 'running' } @_ });
is((grep { $_->{instance_id} eq $victim } @x)[0]{exit_signal}, 9,
    'as does its document');

# it is picked again, and in the end nothing is counted

my @new = map { $t->websocket('/agents/echo/', timeout => 10) } 1 .. 4;
ok(wait_for(sub { $s->counted('echo')->{$victim} }), 'it has clients again');

$_->close() for @new, $stays;
ok(wait_for(sub { !%{ $s->listed('echo') }
    && !grep { $_ } values %{ $s->counted('echo') } }), 'all are gone');

$s->finish();

###############################################################################

# What happened to it since the first incarnation ran.

sub history {
    my @all = $d->history($victim);
    shift @all while @all && $all[0]{state} ne 'failed';
    return @all;
}

# New clients, each with one exchange, and where they were counted.

sub served {
    my ($n) = @_;

    my @clients = map { $t->websocket('/agents/echo/', timeout => 10) } 1 .. $n;
    my $served = grep { ($_->ask('hello') // '') eq 'hello' } @clients;
    my $counted = $s->counted('echo');

    $_->close() for @clients;

    return "$served by " . ($counted->{$other} == $n + 1
        && !$counted->{$victim} ? 'the other' : 'whomever');
}
