#!/usr/bin/perl

# Tests for replay in the whole of Corral: a message that kills two instances is an
# event, a moved connection is in the list with its new instance, and the fields of
# a service are checked by the API.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

use File::Temp qw/tempdir/;
use JSON::PP;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $stack = Test::Corral::Stack->new($t);
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;                       # agents are another user
my $agent = "$dir/bench-agent";

system($ENV{CC} || 'cc', qw/-std=gnu11 -O2 -pthread -o/, $agent,
    glob "$FindBin::Bin/../deploy/agents/bench/bench[-_]*.c") == 0
    or BAIL_OUT('bench-agent does not compile');

$t->plan(11 + 3);
$stack->start(2);

my $d = $stack->d();

###############################################################################

# what the API takes

my $r = $d->api('POST', '/services', { name => 'bad', failover => 'replay',
    command => [ $agent ] });
is($d->{http}, 422, 'replay without an answer is refused');
like($r->{detail}, qr/"failover" "replay" needs an "answer"/, 'it says why');

# a connection that is moved

my $made = $d->service(name => 'rpc', failover => 'replay',
    answer => 'jsonrpc', replicas => 3,
    command => [ $agent, '--rpc', '--listen', '{listen}' ],
    readiness_probe => { type => 'websocket', interval => '1s' });

$d->wait_running('rpc', 3);

my $ws = $t->websocket('/agents/rpc/');
is(ask('echo', 1)->{result}, 1, 'an agent answers');

my $first = wait_for(sub { my $c = connection(); %$c && $c }, 10);
is($first->{resumed}, 0, 'a new connection was not moved');

kill 'KILL', $d->instance($first->{instance_id})->{pid};
wait_for(sub { connection()->{resumed} }, 20);

my $second = connection();
is($second->{resumed}, 1, 'it is moved when its instance is killed');
isnt($second->{instance_id}, $first->{instance_id}, 'the list has the new one');
is($second->{connection_id}, $first->{connection_id}, 'it is the same');
is(ask('echo', 2)->{result}, 2, 'and another agent answers');

# a message that kills

$d->wait_running('rpc', 3);

$ws->send_text('{"id":3,"method":"die"}');
is($ws->close_code(15), 1011, 'a message that kills two is not sent to a third');

my $event;
wait_for(sub {
    ($event) = grep { $_->{type} eq 'message_suspect' } events();
}, 10);
is($event->{id}, $made->{service_id}, 'an event names the service');
is($event->{data}{messages}, 1, 'and the number of messages');

$stack->finish();

###############################################################################

sub ask {
    my ($method, $n) = @_;
    $ws->send_text(qq({"id":$n,"method":"$method","params":$n}));
    my $m = $ws->read_message(10);
    return defined $m ? JSON::PP->new->decode($m) : {};
}

sub events {
    my $stream = $d->api('GET', '/events?follow=false&limit=1000');
    return map { decode_json($_) } $stream =~ /^data: (\{.*\})$/mg;
}

sub connection {
    my ($c) = grep { $_->{service} eq 'rpc' }
        @{ $d->api('GET', '/connections')->{items} };
    return $c // {};
}

###############################################################################
