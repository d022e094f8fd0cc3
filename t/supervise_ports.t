#!/usr/bin/perl

# TCP ports: from the range with a real check, a port that was just left rests,
# a given one that is taken is refused with the name of its holder.  A port is
# not for life: an agent whose port was stolen gets another one.

###############################################################################

use warnings;
use strict;

use Test::More;

use IO::Socket::INET;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

# six ports in a row; the second is ours, so that it cannot be given

my ($first, $taken);

for (1 .. 50) {
    $first = 20000 + int rand 9000;
    my @s = map { IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $first + $_, Listen => 1) } 0 .. 5;
    next if grep { !defined } @s;
    $taken = $s[1];
    last;
}

my $d = Test::Corral::Daemon->new(port_range => "$first-" . ($first + 5));

plan(tests => 25);

$d->start();

###############################################################################

my $tcp = sub { $d->service(name => $_[0], listen => 'tcp',
    command => $d->agent(), @_[1 .. $#_]) };

# what could not be started has used no port: none rests, and it is told why

$tcp->('lost', host => 'no.such.host.invalid', restart_delay => '10ms',
    restart_max_delay => '20ms');
my @failed;
$d->wait_instances('lost', sub { $_[0] && 7 <= (@failed = grep {
    $_->{state} eq 'failed' } $d->history($_[0]{instance_id})) });
is(scalar(grep { $_->{message} =~ /port_range/ } @failed), 0,
    'a name that is none is no lack of ports');
like($failed[-1]{message},
    qr/^host "no.such.host.invalid" cannot be resolved: /, 'it is named');
$d->api('DELETE', '/services/lost?force=1');

$tcp->('a', replicas => 2);
my @a = $d->wait_running('a', 2);
my ($p, $q) = map { /:(\d+)$/ } map { $_->{address} } @a;
ok($p >= $first && $p <= $first + 5 && $q >= $first && $q <= $first + 5,
    'ports of the range');
isnt($p, $q, 'different ones');
isnt($p, $first + 1, 'not the one that somebody else has');
isnt($q, $first + 1, 'neither here');

my $env = $d->ask($a[0], '/env');
like($env, qr/^PORT=$p$/m, 'PORT');
like($env, qr/^HOST=localhost$/m, 'HOST');
like($env, qr/^CORRAL_LISTEN=localhost:$p$/m, 'CORRAL_LISTEN');

# after a restart of corrald its ports are known again

$d->kill('KILL')->start();
ok(wait_for(sub { 2 == (() = $d->log() =~ /found alive/g) }), 'adopted');
$tcp->('b');
my ($b) = $d->wait_running('b', 1);
my ($r) = $b->{address} =~ /:(\d+)$/;
ok($r != $p && $r != $q, 'not the port of an adopted one');

# quarantine: a port that was just left does not come back

$d->api('PUT', '/services/a/scale', { replicas => 1 });
$d->wait_running('a', 1);
$d->api('PUT', '/services/a/scale', { replicas => 2 });
my @again = $d->wait_running('a', 2);
my ($new) = map { /:(\d+)$/ } $again[1]{address};
isnt($new, $q, 'the port that was left rests');

# all others are in use, ours, or rest

$tcp->('c', replicas => 3, restart_delay => '10s');
my @c = $d->wait_instances('c', sub {
    grep { $_->{reason} eq 'ports_exhausted' } @_ });
my ($out) = grep { $_->{reason} eq 'ports_exhausted' } @c;
like($out->{message}, qr/no port from $first to @{[ $first + 5 ]} is free/,
    'an exhausted range is told');
like($out->{message}, qr/instances\ have\ [345],\ \d\ rest\ for\ 60\ s.*cannot\ be
    \ bound:\ 1,\ the\ last\ as\ 127\.0\.0\.1:\d+\ is\ held\ by\ pid\ $$/x,
    'with where they are');
is($out->{state}, 'failed', 'failed');
ok($out->{retry_at}, 'and tried again');

# a given port that is taken

my $mine = $first + 1;
$d->service(name => 'fixed', port => $mine, command => $d->agent(),
    restart_delay => '300ms');
my ($f) = $d->wait_instances('fixed', sub { $_[0]{state} eq 'failed' });
is($f->{reason}, 'port_conflict', 'conflict');
like($f->{message}, qr/^127\.0\.0\.1:$mine is held by pid $$ \(.+\)/,
    'with the holder');
close $taken;
($f) = $d->wait_running('fixed', 1);
is($f->{address}, "127.0.0.1:$mine", 'when it is free, it starts');

# a unix socket is for its group, in a directory that others cannot read

$d->service(name => 'unix', command => $d->agent());
my ($u) = $d->wait_running('unix', 1);
my ($path) = $u->{address} =~ /^unix:(.*)/;
like($path, qr{/r/agents/\Q$u->{instance_id}\E/1\.sock$}, 'a socket');
is(sprintf('%o', (stat $path)[2] & 07777), '770', 'for its group');
is(sprintf('%o', (stat $path =~ s{/[^/]*$}{}r)[2] & 07777), '2750',
    'in a directory of its own');

$d->finish();

###############################################################################
