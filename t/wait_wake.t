#!/usr/bin/perl

# Tests for who is told that requests wait: the API, the events and the command
# line, with everything that takes part in it; and what starts, serves those
# that wait.

###############################################################################

use warnings;
use strict;

use Test::More;

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

$t->plan(18 + 3);
$s->start(2);

###############################################################################

# nothing is wanted of it yet: those that come wait all the same

$s->echo('echo', 0, queue_size => 10, queue_timeout => '20s',
    max_sessions => 2);

ok(wait_for(sub { $t->status()->{services}[0] }), 'the gateway knows it');
is(field('waiting'), 0, 'nobody waits');

my @ws = map { $t->websocket('/agents/echo/', start => 1) } 1 .. 3;

is(told(3), 3, 'the API knows how many wait');
is(scalar(events()), 1, 'one event says that it began');
is((events())[0]{data}{name}, 'echo', 'for which service');
cmp_ok((events())[0]{data}{waiting}, '>=', 1, 'and how many at first');

like(corral('ps'), qr/WAITING.*^echo\s.*\s3\s/ms, 'corral ps shows it');

$ws[2]{socket}->close();
is(told(2), 2, 'one has left');

# what is started serves them

$d->api('PUT', '/services/echo/scale', { replicas => 1 });
is($_->handshake()->status(), 101, 'served') for @ws[0, 1];
is($ws[0]->ask('hello'), 'hello', 'and works');
is(told(0), 0, 'nobody waits any more');

# at its limit, and again: not each wait is an event

my $third = $t->websocket('/agents/echo/', start => 1);
is(told(1), 1, 'it waits at the limit');
is(scalar(events()), 1, 'no further event so soon');

# pause holds those that come, resume lets them go on

$ws[0]->close();
is($third->handshake()->status(), 101, 'served at the limit');
$d->api('POST', '/services/echo/actions/pause');
ok(wait_for(sub { field('status') && $t->status()->{services}[0]{desired}
    eq 'paused' }), 'paused');
$ws[2] = $t->websocket('/agents/echo/', start => 1);
is(told(1), 1, 'a paused service holds');
$third->close();
$d->api('POST', '/services/echo/actions/resume');
is($ws[2]->handshake()->status(), 101, 'until it is resumed');

$s->finish();

###############################################################################

sub field { $d->api('GET', '/services/echo')->{$_[0]} }

sub told {
    my ($n) = @_;
    my $now;
    wait_for(sub { ($now = field('waiting')) == $n });
    return $now;
}

sub events {
    return grep { $_->{type} eq 'service_waiting' }
        map { JSON::PP::decode_json($_) } split /\n/, corral('events', '-o',
            'json');
}

sub corral {
    my (@args) = @_;

    local $ENV{CORRAL_API} = "http://127.0.0.1:$d->{port}";
    local $ENV{CORRAL_TOKEN} = $d->{token};
    my $corral = $Test::Corral::BUILD . '/corral';

    return `$corral @args`;
}
