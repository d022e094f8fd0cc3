#!/usr/bin/perl

# corral-shim: whoever dies, in whatever order, the end is recorded, and
# nothing of the agent is left behind or started twice.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time sleep/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Shim;

my $s = Test::Corral::Shim->new();

plan(tests => 55);

# an agent with children: in its group, in a session of their own, orphaned

my $family = <<'EOP';
use POSIX;
my ($word) = @ARGV;
my @kids;
unless (my $pid = fork) { exec 'perl', '-e', 'sleep 1000', "$word-group" }
unless (my $pid = fork) { POSIX::setsid();
    exec 'perl', '-e', '$SIG{TERM} = "IGNORE"; sleep 1000', "$word-session" }
my $pid = fork // die;
if (!$pid) { exit 0 if fork; POSIX::setsid();
    POSIX::close($_) for 3 .. 300;
    exec 'perl', '-e', 'sleep 1000', "$word-orphan" }
waitpid $pid, 0;
$SIG{USR1} = sub { exit 3 };
eval $ARGV[1];
sleep 1 while 1;
EOP

my $n = 0;

sub family {
    my ($shim, $then) = @_;
    my $word = "corral-family-$$-" . ++$n;
    $shim->start(['perl', '-e', $family, $word, $then // '']);
    wait_for(sub { descendants("$word-") == 3 }) or diag('family incomplete');
    $shim->{pids}{$_} = 1 for descendants($word);
    return $word;
}

###############################################################################

# exit code

$s->start(['perl', '-e', '$SIG{USR1} = sub { exit 7 }; $| = 1; print "ready\n";
    sleep 1 while 1']);
wait_for(sub { $s->log =~ /ready/ });
kill 'USR1', $s->pid;
my $m = $s->wait_message('exit') // {};
is($m->{code}, 7, 'exit code is told');
is($m->{signal} // 0, 0, 'no signal');
ok($s->wait_message('gone'), 'and that nothing is left');
is($s->record->{code}, 7, 'and recorded');
is($s->record->{nonce}, $s->{spec}{nonce}, 'with the identity');
ok($s->{hello}{pid} == $s->record->{pid}, 'and the pid');
ok(alive($s->shim_pid), 'the shim waits for the ack');
$s->say('ack');
ok(wait_for(sub { !alive($s->shim_pid) }), 'and goes with it');
ok(!-e $s->{spec}{exit}, 'the record goes with the ack');
ok(!-e $s->{spec}{socket}, 'so does the socket');
$s->finish();

# a signal, with nobody listening

my $k = Test::Corral::Shim->new();
$k->start(['sleep', '1000']);
$k->disconnect();
kill 'KILL', $k->pid;
ok(wait_for(sub { $k->record }), 'without corrald it is recorded');
is($k->record->{signal}, 9, 'the signal');
ok(!$k->record->{oom}, 'not for want of memory');
ok(!$k->record->{lost}, 'the shim was there');
$k->finish();

# the agent ends, its family does not: asked, then killed

my $f = Test::Corral::Shim->new();
my $word = family($f);
kill 'USR1', $f->pid;
is($f->wait_message('exit')->{code}, 3, 'end of the agent is told at once');
my $t0 = time();
ok($f->wait_message('gone', 5), 'end of its family, too');
cmp_ok(time() - $t0, '>', 0.2, 'it had its grace');
is(scalar(descendants("$word-")), 0, 'nobody is left');
$f->finish();

# stop: the group has its time, then all are killed

my $stop = Test::Corral::Shim->new();
$word = family($stop, '$SIG{TERM} = sub { exit 0 }');
$stop->say('stop', signal => 15, timeout => 5000);
$m = $stop->wait_message('exit');
is($m->{code} // 0, 0, 'stopped gracefully');
ok(!$m->{killed}, 'not killed');
ok($stop->wait_message('gone'), 'and its family');
is(scalar(descendants("$word-")), 0, 'nobody is left after a stop');
$stop->finish();

# stop of one that ignores it

my $deaf = Test::Corral::Shim->new();
$word = family($deaf, '$SIG{TERM} = "IGNORE"');
$t0 = time();
$deaf->say('stop', signal => 15, timeout => 300);
$m = $deaf->wait_message('exit');
is($m->{signal}, 9, 'killed');
is($m->{killed}, 1, 'because it did not listen');
cmp_ok(time() - $t0, '>', 0.29, 'not before its time');
$deaf->wait_message('gone');
is(scalar(descendants("$word-")), 0, 'nobody is left after a kill');
$deaf->finish();

# stop of one that is stopped itself

my $frozen = Test::Corral::Shim->new();
$frozen->start(['perl', '-e', '$SIG{TERM} = sub { exit 5 }; $| = 1;
    print "ready\n"; sleep 1 while 1']);
wait_for(sub { $frozen->log =~ /ready/ });
kill 'STOP', $frozen->pid;
$frozen->say('stop', signal => 15, timeout => 5000);
is($frozen->wait_message('exit')->{code}, 5, 'a frozen agent hears the signal');
$frozen->finish();

# SIGTERM to the shim itself, as at the shutdown of the system

my $down = Test::Corral::Shim->new();
$word = family($down, '$SIG{TERM} = sub { exit 6 }');
kill 'TERM', $down->shim_pid;
is($down->wait_message('exit')->{code}, 6, 'shutdown is graceful');
ok($down->wait_message('gone'), 'and complete');
$down->finish();

# kill -9 of the shim: no agent, no grandchild

my $lost = Test::Corral::Shim->new();
$word = family($lost);
is(scalar(descendants("$word-")), 3, 'three descendants live');
kill 'KILL', $lost->shim_pid;
ok(wait_for(sub { !alive($lost->pid) }, 2), 'shim killed: no agent');
ok(wait_for(sub { !descendants("$word-") }, 2), 'shim killed: no grandchild');
ok(wait_for(sub { $lost->record }), 'the guard writes a record');
is($lost->record->{lost}, 1, 'that says so');
is($lost->record->{nonce}, $lost->{spec}{nonce}, 'with the identity');
ok(wait_for(sub { !-e $lost->{spec}{socket} }), 'the socket is gone');
$lost->finish();
is($lost->start(['sleep', '1000']), 0, 'the next copy may start');
$lost->finish();

# kill -9 of guard and shim: the agent dies, and a survivor holds the lock

my $both = Test::Corral::Shim->new();
$both->start(['perl', '-e', 'use POSIX; $^F = 1000; open L, "<&=200";
    unless (fork) { POSIX::setsid(); exec "sleep", 1000 + $$ / 1e5 }
    print "ready\n"; close STDOUT; sleep 1000']);
wait_for(sub { $both->log =~ /ready/ });
my ($survivor) = wait_for(sub {
    my ($p) = grep { slurp("/proc/$_/stat") =~ /\) \S @{[ $both->pid ]} /
        && slurp("/proc/$_/comm") eq "sleep\n" }
        map { m{/proc/(\d+)$} } glob '/proc/[0-9]*';
    $p;
});
$both->{pids}{$survivor} = 1;
kill 'KILL', $both->guard_pid;
ok(wait_for(sub { $both->guard_pid != 0 && alive($both->shim_pid) }),
    'guard killed: the shim goes on');
ok(alive($both->pid), 'and the agent');
kill 'KILL', $both->shim_pid;
ok(wait_for(sub { !alive($both->pid) }), 'shim killed, too: no agent');
ok(alive($survivor), 'a descendant survives');
is($both->start(['sleep', '1']), 69, 'but the lock it holds allows no copy');
kill 'KILL', $survivor;
$both->finish();

# death of the caller: see that the agent does not notice

my $alone = Test::Corral::Shim->new();
my $pid = fork;
if (!$pid) {
    $alone->start(['perl', '-e', '$| = 1; while (1) { print "tick\n";
        select undef, undef, undef, 0.05 }']);
    open my $fh, '>', $alone->dir . '/hello.new';
    print $fh "$alone->{hello}{pid} $alone->{hello}{shim_pid}";
    close $fh;
    rename $alone->dir . '/hello.new', $alone->dir . '/hello';
    sleep 1000;
}
wait_for(sub { -f $alone->dir . '/hello' });
@{ $alone->{hello} }{qw/pid shim_pid/} = split / /,
    slurp($alone->dir . '/hello');
$alone->{pids}{$_} = 1 for $alone->pid, $alone->shim_pid;
kill 'KILL', $pid;
waitpid $pid, 0;
my $size = length $alone->log;
ok(wait_for(sub { length $alone->log > $size + 200 }),
    'caller killed: the agent goes on and its log, too');
is($alone->connect()->message()->{pid}, $alone->pid, 'and is found again');
$alone->finish();

###############################################################################
