#!/usr/bin/perl

# The command line and what goes on: logs, connections, close, drain, events
# and calls through the gateway.

###############################################################################

use warnings;
use strict;

use JSON::PP;
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
my $dir = $d->dir();

$t->plan(96 + 3);
$s->start(2);

my ($instance) = $s->echo('echo', 1);

$d->service(name => 'plain', command => $d->agent());
my ($plain) = $d->wait_running('plain', 1);

my ($code, $out, $err);

sub corral {
    my ($want, @args) = @_;

    ($code, $out, $err) = $d->ctl(@args);
    is($code, $want, "corral @args") or diag($out, $err);
}

###############################################################################

# logs

$d->ask($plain, "/say/line-$_") for 1 .. 5;
$d->ask($plain, '/say/ERROR:broken');
ok(wait_for(sub { ($d->ctl('logs', 'plain'))[1] =~ /broken/ }), 'logs');

corral(0, 'logs', 'plain', '--tail', 2);
is($out, "$plain->{instance_id} | line-5\n$plain->{instance_id} | ERROR:broken\n",
    'the last two');
corral(0, 'logs', $plain->{instance_id}, '--tail', 1);
is($out, "ERROR:broken\n", 'of an instance');
corral(0, 'logs', 'plain', '--level', 'error');
like($out, qr/broken/, 'by level');
unlike($out, qr/line-/, 'only this');
corral(0, 'logs', 'plain', '--stream', 'stderr');
unlike($out, qr/line-/, 'by stream');
corral(0, 'logs', 'plain', '--since', '10m');
like($out, qr/line-1.*line-5/s, 'since ten minutes');
corral(0, 'logs', 'plain', '--since', '2099-01-01T00:00:00Z');
is($out, '', 'since a time to come');
corral(0, 'logs', 'plain', '--tail', 1, '-o', 'json');
is(decode_json($out)->{text}, 'ERROR:broken', 'JSON, one a line');
corral(2, 'logs', 'plain', '--tail', '5&stream=stderr');
like($err, qr/tail/, 'what is no number is not a number');
corral(2, 'logs', 'plain', '--since', 'yesterday');
like($err, qr/since/, 'nor a time');
corral(3, 'logs', 'nobody');
is($err, "corral: there is no service or instance \"nobody\"\n", 'nobody');

my $follow = background('logs', 'plain', '-f', '--tail', 1);

ok(wait_for(sub { $follow->() =~ /broken/ }), 'follow: what was');
$d->ask($plain, '/say/and-then');
ok(wait_for(sub { $follow->() =~ /and-then/ }), 'follow: what comes');

# call

my $gateway = 'http://127.0.0.1:' . $t->port(8080);

corral(0, 'call', 'echo', 'hello');
is("$out|$err", "hello\n|", 'where the gateway is, the API says');
corral(0, 'call', 'echo', '-d', "\@$dir/agent.pl", '--gateway', "$gateway/");
is($out, slurp("$dir/agent.pl") . "\n", 'a file, through a gateway that is named');
corral(0, 'call', 'echo', "\x01\x02", '--binary');
is($out, "\x01\x02\n", 'a binary message');
corral(0, 'call', 'plain', '--http', '--path', 'env');
like($out, qr/^CORRAL_LISTEN=unix:/m, 'HTTP, a path');
corral(0, 'call', 'plain', '--http', '-d', '{"a": 1}');
like($out, qr/^pid $plain->{pid} /, 'HTTP, a message');
corral(2, 'call', 'echo');
like($err, qr/usage: corral call SERVICE MESSAGE/, 'no message');
corral(2, 'call', 'echo', '-d', "\@$dir/nowhere");
corral(3, 'call', 'nobody', 'x');
like($err, qr/nobody/, 'the API knows none');
my $start = time();

corral(3, 'call', 'nobody', 'x', '--gateway', $gateway);
like($err, qr/^corral: the gateway answers 404: [^{]*nobody/, 'nor the gateway');
cmp_ok(time() - $start, '<', 10, 'which says so at once');
corral(3, 'call', 'nobody', '--http', '--gateway', $gateway);
corral(8, 'call', 'echo', 'x', '--gateway', 'http://127.0.0.1:1');
like($err, qr/is the gateway running/, 'no gateway');
corral(2, 'call', 'echo', 'x', '--gateway', 'ftp://127.0.0.1');
like($err, qr{"ftp://127.0.0.1/agents/echo" is not where}, 'no URL');
corral(1, 'call', 'plain', 'x');
like($err, qr/^corral: the gateway answers /, 'no WebSocket');

# connections, close

my @ws = map { $t->websocket("/agents/echo/?session_id=s$_") } 1 .. 4;

is($_->ask('x'), 'x', 'connected') for @ws;
ok(wait_for(sub { my $n = $s->listed('echo')->{ $instance->{instance_id} } // 0;
    $n == 4 }, 20), 'four connections');

corral(0, 'connections');
like($out, qr/^CONNECTION +SERVICE .*(?:\n\S+ +echo +\Q$instance->{instance_id}\E ){1}/,
    'connections');
corral(0, 'connections', '--service', 'echo', '-o', 'name');
my @ids = split ' ', $out;
is(scalar @ids, 4, 'their names');
corral(0, 'connections', '--service', 'plain', '-o', 'json');
is(decode_json($out)->{total}, 0, 'none of the other');
corral(0, 'connections', '--age', '1h', '-o', 'name');
is($out, '', 'nor that old');

corral(0, 'close', '--service', 'echo', '--dry-run');
is($err, "4 connections match\n", 'a dry run');
corral(1, 'close', '--service', 'echo');
corral(2, 'close', '--yes');
corral(2, 'close', $ids[0], '--code', 'high');
is($err, "corral: --code is \"high\", it must be a number\n", 'no code');
corral(2, 'close', $ids[0], '--code', '1005');
like($err, qr/code/, 'a code that cannot be sent');
corral(2, 'close', 'nobody');
like($err, qr/"nobody".*16 hexadecimal digits/, 'no connection');
corral(3, 'close', '0' x 15 . '1');
is(scalar(grep { $_->ask('y') eq 'y' } @ws), 4, 'and nothing is closed');

corral(0, 'close', $ids[0], '--code', 1008, '--reason', 'go away');
is($err, "1 closed, 1 of them got the close frame\n", 'one');
is(join(' ', sort map { $_->close_code(1) || 'open' } @ws),
    '1008 open open open', 'is closed');

# drain: the others; a time that is over is no failure of the drain

corral(2, 'drain');
corral(2, 'drain', '--service', 'echo', '--rate', 'fast');
corral(3, 'drain', '--service', 'nobody');
corral(6, 'drain', '--service', 'echo', '--rate', 1, '--deadline', '1h',
    '--wait', 1);
corral(0, 'resume', 'echo');
corral(0, 'drain', '--service', 'echo', '--rate', 0, '--wait', 20);
is($d->api('GET', '/services/echo')->{desired}, 'paused', 'and is paused');
ok(wait_for(sub { !%{ $s->listed('echo') } }, 10), 'all are closed');
corral(0, 'resume', 'echo');

# events; a watch that goes on over a restart of corrald has each one once

corral(0, 'events');
like($out, qr/^\S+ +\S+ +\Q$instance->{instance_id}\E /m, 'events');
corral(0, 'events', '-o', 'json');
my @events = map { decode_json($_) } split /\n/, $out;
my $last = $events[-1]{event_id};
ok($last, 'JSON, one a line');

my $watch = background('events', '-w', '-o', 'json', '--last-id', $last);

corral(0, 'pause', 'plain');
ok(wait_for(sub { $watch->() =~ /"plain"|plain/ }), 'watch: what comes');
my $seen = () = $watch->() =~ /\n/g;

$d->kill('TERM');
$d->start();
corral(0, 'resume', 'plain');
ok(wait_for(sub { (() = $watch->() =~ /\n/g) > $seen }, 20),
    'watch: goes on after a restart of corrald');

my @got = map { decode_json($_)->{event_id} // () } split /\n/, $watch->();
my %got = map { $_ => 1 } @got;

is(scalar @got, scalar keys %got, 'nothing twice');
is_deeply([ grep { $got{$_} } map { $_->{event_id} } @events ], [],
    'nothing from before');

$s->finish();

###############################################################################

# Starts it; returns what it has printed when called.

sub background {
    my (@args) = @_;

    my $file = "$dir/out.$args[0]";

    $t->run_daemon(sub {
        $d->_ctl_environment();
        open STDOUT, '>', $file or die;
        open STDERR, '>', "$file.err" or die;
        exec "$Test::Corral::BUILD/corral", @args or die;
    });

    return sub { slurp($file) };
}

###############################################################################
