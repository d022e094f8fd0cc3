#!/usr/bin/perl

# Tests for the drain of an instance whose connections may go on with another one:
# they are moved, those with an unanswered request last; others are closed as ever.

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

my %doc = (command => [ $agent, '--rpc', '--listen', '{listen}' ],
    replicas => 2, drain_timeout => '0s', drain_rate => 0,
    readiness_probe => { type => 'websocket', interval => '1s' });

$d->service(name => 'rpc', failover => 'replay', answer => 'jsonrpc', %doc);
$d->service(name => 'plain', %doc);
$d->wait_running($_, 2) for qw/rpc plain/;

my @ws = map { $t->websocket('/agents/rpc/') } 1 .. 12;
my @plain = map { $t->websocket('/agents/plain/') } 1 .. 4;
is(ask($_, 1), 1, 'an agent answers') for $ws[0], $plain[0];

wait_for(sub { 12 == grep { $_ } connections('rpc') }, 10);
my %before = counts('rpc');
is(scalar keys %before, 2, 'clients on both instances');

# an instance is evicted: its clients go on with others

my ($victim) = sort keys %before;
my $busy = (grep { instance_of($_) eq $victim } @ws)[0];

$busy->send_text('{"id":7,"method":"work","params":{"ms":500}}');
$d->api('DELETE', "/instances/$victim");
is($d->{http}, 202, 'an instance is evicted') or diag $d->{http};

wait_for(sub { !grep { $_->{instance_id} eq $victim } connections('rpc') }, 20);
is(scalar(grep { $_->{instance_id} eq $victim } connections('rpc')), 0,
    'no connection is left on it');

my $answer = decode_json($busy->read_message(10) // '{}');
is($answer->{id}, 7, 'a request that was under way is answered');
is(join(' ', map { ask($_, 2) } @ws), join(' ', (2) x 12), 'no client is closed');

my %moved = map { $_->{resumed} => 1 } grep { $_->{resumed} } connections('rpc');
is_deeply(\%moved, { 1 => 1 }, 'each was moved once');
is(scalar(grep { $_->{resumed} } connections('rpc')), $before{$victim},
    'those of the instance, and no others');

# of a service that closes

my ($other) = map { $_->{instance_id} } connections('plain');
my @affected = grep { instance_of($_) eq $other } @plain;
$d->api('DELETE', "/instances/$other");
is(join(' ', map { $_->close_code(20) } @affected),
    join(' ', (1012) x @affected), 'others are closed as ever');

# a service that stops has no other instance

$d->api('POST', '/services/rpc/stop');
is(join(' ', map { $_->close_code(30) } @ws), join(' ', (1012) x 12),
    'without another instance: 1012');

$stack->finish();

###############################################################################

sub ask {
    my ($ws, $n) = @_;
    $ws->send_text(qq({"id":$n,"method":"echo","params":$n}));
    my $m = $ws->read_message(10);
    return defined $m ? decode_json($m)->{result} : 'none';
}

sub connections {
    my ($service) = @_;
    return grep { $_->{service} eq $service }
        @{ $d->api('GET', '/connections?limit=1000')->{items} };
}

sub counts {
    my ($service) = @_;
    my %n;
    $n{ $_->{instance_id} }++ for connections($service);
    return %n;
}

# by the port of the client

sub instance_of {
    my ($ws) = @_;
    my ($c) = grep { $_->{client_port} == $ws->socket()->sockport() }
        @{ $d->api('GET', '/connections?limit=1000')->{items} };
    return $c ? $c->{instance_id} : '';
}

###############################################################################
