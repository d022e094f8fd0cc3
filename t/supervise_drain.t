#!/usr/bin/perl

# A stop drains first: the instance takes no new connection, open ones go on
# until they end or the deadline comes; what is open then is closed with 1012,
# and only after that the agent gets its signal.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();

$t->plan(35 + 3);
$s->start(2);

###############################################################################

# drained: the connection ends by itself, then the agent

my ($i) = $s->echo('echo', 1, drain_timeout => '30s');
my $ws = $t->websocket('/agents/echo/', timeout => 10);
is($ws->ask('one'), 'one', 'connected');
ok(wait_for(sub { ($s->listed('echo')->{ $i->{instance_id} } // 0) == 1 }),
    'one connection is listed');

$d->api('PATCH', '/services/echo', { desired => 'stopped' });
my ($x) = $d->wait_instances('echo', sub { $_[0]{state} eq 'draining' });
is($x->{pid}, $i->{pid}, 'draining');
is($ws->ask('two'), 'two', 'the open connection goes on');
like(http_get('/agents/echo/'), qr!HTTP/1\.1 503!, 'no new one comes');

select undef, undef, undef, 1;
($x) = $d->instances('echo');
is($x->{state}, 'draining', 'for as long as it is open');
is($ws->ask('three'), 'three', 'and used');

my $t0 = time();
is($ws->close(), 1000, 'its client closes it');
($x) = $d->wait_instances('echo', sub { $_[0]{state} eq 'stopped' });
ok($x, 'then the agent is stopped');
cmp_ok(time() - $t0, '<', 5, 'without waiting for the deadline');
my %h = map { $_->{reason} => $_ } $d->history($i->{instance_id});
is($h{drained}{state}, 'stopping', 'drained, says its history');

# wanted again while it drains

$d->api('PATCH', '/services/echo', { desired => 'running' });
($i) = $d->wait_instances('echo', sub { $_[0]{state} eq 'running'
    && $_[0]{health} eq 'healthy' });
ok(wait_for(sub { http_get('/agents/echo/') !~ /503/ }), 'started again');
$ws = $t->websocket('/agents/echo/', timeout => 10);
$ws->ask('x');
$d->api('PATCH', '/services/echo', { desired => 'stopped' });
$d->wait_instances('echo', sub { $_[0]{state} eq 'draining' });
$d->api('PATCH', '/services/echo', { desired => 'running' });
($x) = $d->wait_instances('echo', sub { $_[0]{state} eq 'running' });
is($x->{pid}, $i->{pid}, 'wanted again: the same process');
is($ws->ask('y'), 'y', 'and the same connection');

# the deadline: closed with 1012

$d->api('PATCH', '/services/echo', { drain_timeout => '1500ms' });
$t0 = time();
$d->api('PATCH', '/services/echo', { desired => 'stopped' });
is($ws->close_code(), 1012, 'at the deadline: 1012');
cmp_ok(time() - $t0, '>', 1.4, 'not before');
cmp_ok(time() - $t0, '<', 6, 'and not much later');
($x) = $d->wait_instances('echo', sub { $_[0]{state} eq 'stopped' });
%h = map { $_->{reason} => $_ } $d->history($i->{instance_id});
like($h{drain_timeout}{message}, qr/1 connections were closed with 1012/,
    'it says how many');
ok(wait_for(sub { !%{ $s->listed('echo') } }), 'none is listed');

# several: at the pace of drain_rate, before the agent gets its signal

$d->api('PATCH', '/services/echo', { drain_timeout => '500ms',
    drain_rate => 4, desired => 'running' });
($i) = $d->wait_instances('echo', sub { $_[0]{state} eq 'running'
    && $_[0]{health} eq 'healthy' });
ok(wait_for(sub { http_get('/agents/echo/') !~ /503/ }), 'running again');
my @ws = map { $t->websocket('/agents/echo/', timeout => 10) } 1 .. 6;
$_->ask('x') for @ws;
$t0 = time();
$d->api('PATCH', '/services/echo', { desired => 'stopped' });
is($_->close_code(), 1012, 'closed') for @ws;
my $took = time() - $t0;
like($ws[0]->close_reason(), qr/^the instance is stopped retry_after=[1-3]$/,
    'told when to come back');
cmp_ok($took, '>', 1.8, 'one after the other');
($x) = $d->wait_instances('echo', sub { $_[0]{state} eq 'stopped' });
%h = map { $_->{reason} => $_ } $d->history($i->{instance_id});
like($h{drain_timeout}{message}, qr/6 connections were closed with 1012/,
    'all of them before the signal');

# who waits for it is told what it waits for

$d->api('PATCH', '/services/echo', { drain_timeout => '1m',
    desired => 'running' });
$d->wait_instances('echo', sub { $_[0]{state} eq 'running'
    && $_[0]{health} eq 'healthy' });
ok(wait_for(sub { http_get('/agents/echo/') !~ /503/ }), 'running again');
$ws = $t->websocket('/agents/echo/', timeout => 10);
$ws->ask('x');

my ($code, $out, $err) = $d->ctl('restart', 'echo', '--wait', '4');
is($code, 6, 'it takes longer than one waits');
like($err, qr/^echo: 1 draining, open connections have up to 1m to end \(drain_/m,
    'corral restart says why');
($code, $out, $err) = $d->ctl('delete', 'echo', '--yes');
is($code, 0, 'delete');
like($err, qr/^echo: is deleted when its open connections have ended/,
    'does not say that it was');
$ws->close();
ok(wait_for(sub { !$d->instances('echo') }, 20), 'then it is');

$s->finish();

###############################################################################
