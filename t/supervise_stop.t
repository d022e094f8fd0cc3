#!/usr/bin/perl

# Stop, start, pause, scale and delete: what is asked for is done to the
# processes, and to all of them.  (A manager whose "stop" says successful while
# the agent lives was the model of what not to do.)

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();

plan(tests => 38);

$d->start();

###############################################################################

$d->service(name => 'echo', command => $d->agent('child=1'), replicas => 2);
my @i = $d->wait_running('echo', 2);
my $word = "$d->{dir}/agent.pl\0child=1";
is(scalar(descendants($word)), 4, 'two agents with a child each');

# stop

$d->api('POST', '/services/echo/stop');
my @s = $d->wait_instances('echo',
    sub { 2 == grep { $_->{state} eq 'stopped' } @_ });
is(scalar(@s), 2, 'stopped');
is(scalar(descendants($word)), 0, 'no process, no child');
is($s[0]{exit_code}, 0, 'it ended by itself');
is($s[0]{pid}, undef, 'no pid is shown');
is($s[0]{reason}, 'requested', 'because it was asked for');

my @h = map { $_->{state} } $d->history($s[0]{instance_id});
is("@h[-3 .. -1]", 'draining stopping stopped', 'by way of draining');

# and nothing starts it again

$d->kill('KILL')->start();
select undef, undef, undef, 0.5;
is(scalar(grep { $_->{state} eq 'stopped' } $d->instances('echo')), 2,
    'still stopped after a restart of corrald');

# start

$d->api('POST', '/services/echo/start');
my @j = $d->wait_running('echo', 2);
is(join(' ', sort map { $_->{instance_id} } @j),
    join(' ', sort map { $_->{instance_id} } @i), 'the same instances');

# pause: out of routing, the process is not touched

$d->api('POST', '/services/echo/actions/pause');
my @p = $d->wait_instances('echo',
    sub { 2 == grep { $_->{state} eq 'paused' } @_ });
is($p[0]{pid}, $j[0]{pid}, 'paused: the same process');
like($d->ask($p[0], '/'), qr/^pid/, 'that answers');
$d->api('POST', '/services/echo/actions/resume');
@p = $d->wait_running('echo', 2);
is($p[0]{pid}, $j[0]{pid}, 'resumed: the same process');
is($p[0]{incarnation}, $j[0]{incarnation}, 'the same incarnation');

# one instance: maintenance, restart, eviction

$d->api('PATCH', "/instances/$p[0]{instance_id}", { maintenance => \1 });
@p = $d->wait_instances('echo',
    sub { 1 == grep { $_->{state} eq 'paused' } @_ });
is($p[0]{reason}, 'maintenance', 'maintenance of one');
$d->api('PATCH', "/instances/$p[0]{instance_id}", { maintenance => \0 });
@p = $d->wait_running('echo', 2);

$d->api('POST', "/instances/$p[1]{instance_id}/actions/restart");
my @r = $d->wait_instances('echo', sub { @_ == 2
    && $_[1]{incarnation} > $p[1]{incarnation}
    && $_[1]{state} eq 'running' });
is($r[0]{pid}, $p[0]{pid}, 'restart of one leaves the other alone');
isnt($r[1]{pid}, $p[1]{pid}, 'and gives that one a new process');

$d->api('DELETE', "/instances/$r[0]{instance_id}");
my @e = $d->wait_instances('echo', sub { @_ == 2
    && 2 == (grep { $_->{state} eq 'running' } @_)
    && !grep { $_->{instance_id} eq $r[0]{instance_id} } @_ });
is(scalar(@e), 2, 'evicted: another comes');
ok(wait_for(sub { !alive($r[0]{pid}) }), 'its process is gone');

# scale

$d->api('PUT', '/services/echo/scale', { replicas => 4 });
my @big = $d->wait_running('echo', 4);
is(scalar(@big), 4, 'four');
$d->api('PUT', '/services/echo/scale', { replicas => 1 });
my @small = $d->wait_running('echo', 1);
is(scalar(@small), 1, 'one');
is($small[0]{instance_id}, $e[0]{instance_id}, 'the oldest stays');
ok(wait_for(sub { descendants($word) == 2 }), 'the processes of the others end');

# one that does not listen is killed after its time, with its family

$d->service(name => 'deaf', command => $d->agent('child=1', 'deaf=1'),
    stop_timeout => '500ms');
my ($deaf) = $d->wait_running('deaf', 1);
my $t0 = time();
$d->api('POST', '/services/deaf/stop');
my ($k) = $d->wait_instances('deaf', sub { $_[0]{state} eq 'stopped' });
cmp_ok(time() - $t0, '>', 0.5, 'it had its time');
cmp_ok(time() - $t0, '<', 3, 'and not more');
is($k->{reason}, 'stop_timeout', 'the reason');
is($k->{exit_signal}, 9, 'killed');
is(scalar(descendants("$d->{dir}/agent.pl\0child=1\0deaf=1")), 0,
    'the whole group is gone');

# another signal

$d->service(name => 'hup', stop_signal => 'HUP',
    command => ['perl', '-e', '$SIG{HUP} = sub { exit 42 };
        do($ARGV[0]) || die $@', "$d->{dir}/agent.pl"]);
$d->wait_running('hup', 1);
$d->api('POST', '/services/hup/stop');
($k) = $d->wait_instances('hup', sub { $_[0]{state} eq 'stopped' });
is($k->{exit_code}, 42, 'stop_signal is what is sent');

# corrald dies while it stops one: the stop goes on

$d->service(name => 'linger', command => $d->agent('linger=1'));
my ($lin) = $d->wait_running('linger', 1);
$d->api('PATCH', '/services/linger', { desired => 'stopped' });
$d->wait_instances('linger', sub { $_[0]{state} eq 'stopping' });
$d->kill('KILL');
ok(wait_for(sub { !alive($lin->{pid}) }, 5), 'the agent ends without corrald');
$d->start();
($k) = $d->wait_instances('linger', sub { $_[0]{state} eq 'stopped' });
is($k->{exit_code}, 0, 'and is found stopped');

# deletion

my ($gone) = $d->instances('echo');
$d->api('DELETE', '/services/echo');
ok(wait_for(sub { $d->api('GET', '/services/echo');
    $d->{http} == 404 }, 10), 'the service is gone');
ok(!alive($gone->{pid}), 'and its process was before');
ok(-s "$d->{dir}/l/$gone->{instance_id}.log", 'its log stays');

# by force: not a second later

$d->service(name => 'forced', command => $d->agent());
my ($forced) = $d->wait_running('forced', 1);
$d->api('DELETE', '/services/forced?force=1');
is($d->{http}, 200, 'deleted by force');
ok(wait_for(sub { !alive($forced->{pid}) }, 2), 'its process goes with it');

$d->finish();

###############################################################################
