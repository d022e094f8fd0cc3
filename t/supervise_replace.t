#!/usr/bin/perl

# A restart of a service replaces its instances one at a time: new, ready, then
# the old one goes; at every moment as many answer as are wanted.  With a fixed
# port the old one goes first.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 23);

$d->start();

###############################################################################

$d->service(name => 'echo', replicas => 2, command => $d->agent('version=1'));
my @i = $d->wait_running('echo', 2);
like($d->ask($i[0], '/'), qr/version=1/, 'version 1');

# a changed command raises the generation

$d->api('PATCH', '/services/echo', { command => $d->agent('version=2') });
is($d->{http}, 200, 'changed');

my ($least, $most) = (99, 0);
my @n;

ok(wait_for(sub {
    @n = $d->instances('echo');
    my $up = grep { $_->{state} eq 'running' && $_->{health} eq 'healthy' } @n;
    my $live = grep { $_->{state} =~ /starting|running|draining|stopping/ } @n;
    $least = $up if $up < $least;
    $most = $live if $live > $most;
    @n == 2 && $up == 2 && !grep { $_->{generation} == $i[0]{generation} } @n;
}, 20), 'all replaced');

cmp_ok($least, '>=', 2, 'never fewer than wanted were ready');
cmp_ok($most, '<=', 3, 'one more at a time');
like($d->ask($_, '/'), qr/version=2/, 'version 2') for @n;
ok(wait_for(sub { !alive($i[0]{pid}) && !alive($i[1]{pid}) }),
    'the old processes are gone');
my ($old) = grep { my $o = $_;
    !grep { $_->{instance_id} eq $o->{instance_id} } @n } @i;
ok($old, 'by new instances');

# environment: what was removed is gone, what is new is there

$d->api('PATCH', '/services/echo', { env => { NEW => '1' }, replicas => 1 });
my ($e) = $d->wait_instances('echo', sub { @_ == 1
    && $_[0]{state} eq 'running' && $_[0]{generation} > $n[0]{generation} }, 20);
like($d->ask($e, '/env'), qr/^NEW=1$/m, 'a new variable');
$d->api('PATCH', '/services/echo', { env => { NEW => undef, OTHER => '2' } });
($e) = $d->wait_instances('echo', sub { @_ == 1
    && $_[0]{state} eq 'running' && $_[0]{generation} > $e->{generation} }, 20);
my $env = $d->ask($e, '/env');
unlike($env, qr/^NEW=/m, 'a removed variable is gone');
like($env, qr/^OTHER=2$/m, 'another one is there');

# a version that never becomes ready harms nobody

$d->api('PATCH', '/services/echo', { command => $d->agent('exit=1'),
    restart_delay => '50ms' });
my @b = $d->wait_instances('echo', sub { @_ == 2
    && grep { $_->{state} eq 'failed' && $_->{restart_count} > 1 } @_ }, 20);
is(scalar(@b), 2, 'the bad version is tried');
my ($good) = grep { $_->{instance_id} eq $e->{instance_id} } @b;
is($good->{state}, 'running', 'the good one goes on');
is($good->{pid}, $e->{pid}, 'untouched');
$d->api('PATCH', '/services/echo', { command => $d->agent('version=4') });
my ($g) = $d->wait_instances('echo', sub { @_ == 1
    && $_[0]{state} eq 'running' && $_[0]{generation} > $b[1]{generation} }, 20);
like($d->ask($g, '/'), qr/version=4/, 'the mended version takes over');

# something that is no part of the process restarts nothing

$d->api('PATCH', '/services/echo', { description => 'x', drain_timeout => '1s',
    restart => 'on_failure', tags => ['a'] });
select undef, undef, undef, 0.5;
my ($same) = $d->instances('echo');
is($same->{pid}, $g->{pid}, 'a change beside the process restarts nothing');

# a fixed port: the old one goes first, in place

my $port = $d->free_port();
$d->service(name => 'fixed', port => $port, command => $d->agent());
my ($f) = $d->wait_running('fixed', 1);
is($f->{address}, "127.0.0.1:$port", 'the given port');
$d->api('PATCH', '/services/fixed', { command => $d->agent('version=2') });
my ($f2) = $d->wait_instances('fixed', sub { @_ == 1
    && $_[0]{state} eq 'running' && $_[0]{generation} > $f->{generation} }, 20);
is($f2->{address}, "127.0.0.1:$port", 'the same port');
like($d->ask($f2, '/'), qr/version=2/, 'the new version');

$d->finish();

###############################################################################
