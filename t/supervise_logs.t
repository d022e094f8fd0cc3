#!/usr/bin/perl

# Logs stay when their instance goes: as long as is said, and no longer.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new(log_keep => '1d', log_keep_instances => 2);
my $dir = $d->dir . '/l';

plan(tests => 14);

###############################################################################

# what earlier instances have left: name => age in hours

my %old = ('echo.aaaaa.log' => 2, 'echo.aaaaa.log.1' => 30,
    'echo.bbbbb.log' => 3, 'echo.ccccc.log' => 4, 'echo.ccccc.log.1' => 5,
    'other.aaaaa.log' => 23, 'other.bbbbb.log' => 25,
    'notes.txt' => 1000, 'x.log.old' => 1000);

mkdir $dir;

for (keys %old) {
    open my $fh, '>', "$dir/$_" or die "$_: $!\n";
    print $fh "2026-11-20T10:00:00.000Z O x\n";
    close $fh;
    utime time() - $old{$_} * 3600, time() - $old{$_} * 3600, "$dir/$_";
}

$d->start();

ok(wait_for(sub { !-e "$dir/other.bbbbb.log" }), 'too old');
ok(wait_for(sub { !-e "$dir/echo.ccccc.log" }), 'too many of one service');
ok(!-e "$dir/echo.ccccc.log.1", 'with all its files');
ok(-e "$dir/echo.aaaaa.log", 'the newest is kept');
ok(-e "$dir/echo.aaaaa.log.1", 'whole, as its newest file counts');
ok(-e "$dir/echo.bbbbb.log", 'the second, too');
ok(-e "$dir/other.aaaaa.log", 'and what is not too old');
ok(-e "$dir/notes.txt", 'what is no log is left alone');
ok(-e "$dir/x.log.old", 'this, too');

# of an instance that was removed

$d->service(name => 'say', command => $d->agent());
my ($i) = $d->wait_running('say', 1);
$d->ask($i, "/say/number-$_") for 1 .. 20;
$d->api('DELETE', '/services/say');
ok(wait_for(sub { $d->api('GET', '/services/say'); $d->{http} == 404 }),
    'removed');
my $log = slurp("$dir/$i->{instance_id}.log");
my @n = $log =~ /O number-(\d+)\n/g;
is("@n", join(' ', 1 .. 20), 'its log is there, whole');

$d->finish();

###############################################################################
