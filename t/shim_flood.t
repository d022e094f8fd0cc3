#!/usr/bin/perl

# An agent that writes 100 MB, and one whose disk is full, are never blocked by
# their log.  (With a manager that does not read its pipes, an agent stops
# after 64 kB, and an idle one after some 90 health checks.)

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Shim;

my $s = Test::Corral::Shim->new(log_max => 1048576, log_files => 2);

my $tmpfs;

plan(tests => 14);

END { system("umount $tmpfs") if $tmpfs }

###############################################################################

# 100 MB on both streams, then a file that says: done

my $flood = <<'EOP';
my ($mb, $done) = @ARGV;
$| = 1; select STDERR; $| = 1; select STDOUT;
my $line = 'y' x 99 . "\n";
my $block = $line x 10486;
for (1 .. $mb) { print $_ % 2 ? STDOUT : STDERR $block }
open my $fh, '>', $done;
close $fh;
sleep 1000;
EOP

$flood =~ s/print \$_ % 2 \? STDOUT : STDERR \$block/
    print { \$_ % 2 ? *STDOUT : *STDERR } \$block/;

my $t0 = time();
$s->start(['perl', '-e', $flood, 100, $s->dir . '/done']);
ok(wait_for(sub { -f $s->dir . '/done' }, 30), '100 MB were written');
diag(sprintf 'in %.2f s', time() - $t0) if $ENV{TEST_VERBOSE};

my $report = wait_for(sub {
    $s->connect()->say('status');
    my $r = $s->wait_message('report');
    $r->{lines} > 1048600 - 1 ? $r : undef;
}, 10);

is($report->{lines}, 1048600 + 1, 'all lines were logged');
is($report->{dropped} // 0, 0, 'none dropped');

my ($rss) = slurp('/proc/' . $s->shim_pid . '/status') =~ /^VmRSS:\s+(\d+)/m;

SKIP: {
    skip 'sanitizer', 1 if slurp($Test::Corral::Shim::SHIM) =~ /__asan_init/;
    cmp_ok($rss, '<', 1280, "memory stays small: $rss kB");
}

$s->finish();

# a disk of 256 kB, half of it taken by somebody else

SKIP: {
    my $f = Test::Corral::Shim->new();
    my $disk = $f->dir . '/disk';

    mkdir $disk;
    system("mount -t tmpfs -o size=256k none $disk 2>/dev/null") == 0
        or skip 'cannot mount', 8;
    $tmpfs = $disk;

    open my $fh, '>', "$disk/other";
    print $fh 'z' x 131072;
    close $fh;

    $f->{spec}{log} = "$disk/x.log";
    my $done = $f->dir . '/done';

    is($f->start(['perl', '-e', $flood =~ s/sleep 1000/
        while (1) { print "tick " . ++\$n . "\\n"; \$| = 1;
        select undef, undef, undef, 0.02 }/r, 5, $done]), 0, 'started');

    ok(wait_for(sub { -f $done }, 20), 'agent is not blocked by a full disk');

    $f->connect()->say('status');
    my $r = $f->wait_message('report');
    cmp_ok($r->{dropped}, '>', 40000, "lines were dropped: $r->{dropped}");
    unlike($f->log, qr/gap/, 'there is no room for a mark');

    unlink "$disk/other";

    ok(wait_for(sub { $f->log =~ /S gap: \d+ lines, \d+ bytes dropped: No sp/ },
        10), 'with room again a mark says how many');
    ok(wait_for(sub { $f->log =~ /gap.*O tick \d+\n.*O tick/s }), 'and it goes on');

    # every line is a record: nothing is torn where the disk was full

    is(scalar(grep { !/^\S+Z (?:[OE] (?:y{99}|tick \d+)|S .*)$/ }
        split /\n/, $f->log), 0,
        'no record is torn');

    $f->connect()->say('status');
    $r = $f->wait_message('report');
    my $gaps = 0;
    $gaps += $_ for $f->log =~ /gap: (\d+) lines/g;
    my $ticks = () = $f->log =~ /O tick/g;
    is($r->{dropped}, $gaps, 'the marks account for all dropped lines');

    $f->finish();
    system("umount $disk") == 0 and undef $tmpfs;
}

###############################################################################
