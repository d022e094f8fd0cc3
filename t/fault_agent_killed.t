#!/usr/bin/perl

# The fault matrix: an agent is killed.  Its clients are told at once, new ones
# go to the other instance, and it comes back in its next incarnation.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();

$f->plan(14);
$f->begin();

###############################################################################

my ($victim) = $f->instances();

is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on one instance are affected');

$f->strike(sub { kill 'KILL', $victim->{pid} });
$f->told([ 1001, 1011 ], 2);
$f->unharmed();

# it is back

my $again = { $f->recovered($victim) }->{ $victim->{instance_id} };

is($again->{incarnation}, $victim->{incarnation} + 1, 'in its next incarnation');
is($again->{exit_signal}, 9, 'what ended it is known');
$f->lives('it is back');
is($f->serve(), 20, 'new clients');
$f->lives('they are gone');

$f->finish();
