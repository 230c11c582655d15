! nnpcore.f90 - Fortran interface (2003, iso_c_binding) of nnpcore.h: models, workspaces, energies and forces.
! Arrays are C's in Fortran's order: positions x(3, n), cell(3, 3) with one lattice vector a COLUMN, species 0-based.
! Units, error codes and what may be null are nnpcore.h's; results are added to. Compile this file with the host.
module nnpcore
  use, intrinsic :: iso_c_binding
  implicit none
  private

  integer(c_int), parameter, public :: NNP_OK = 0, NNP_ERR_ARGUMENT = 1, NNP_ERR_MEMORY = 2, NNP_ERR_FILE = 3, &
    NNP_ERR_FORMAT = 4, NNP_ERR_VERSION = 5, NNP_ERR_SPECIES = 6, NNP_ERR_GEOMETRY = 7, NNP_ERR_DIVERGED = 8, &
    NNP_ERR_CHANGED = 9
  integer(c_int), parameter, public :: NNP_F64 = 0, NNP_F32 = 1

  type, bind(c), public :: nnp_options
    integer(c_size_t) :: size
    integer(c_int) :: n_threads, precision
    real(c_double) :: skin
  end type

  type, bind(c), public :: nnp_neighbors
    integer(c_int) :: n_rows
    type(c_ptr) :: rows, count, index
    integer(c_int) :: mask
  end type

  type, bind(c), public :: nnp_results ! c_loc() of the caller's targets, or c_null_ptr
    type(c_ptr) :: energy = c_null_ptr, energies = c_null_ptr, forces = c_null_ptr
    type(c_ptr) :: virial = c_null_ptr, virials = c_null_ptr
  end type

  public :: nnp_version, nnp_model_parse, nnp_model_free, nnp_model_cutoff, nnp_model_n_species, nnp_model_mass
  public :: nnp_default_options, nnp_workspace_new, nnp_workspace_free, nnp_compute, nnp_compute_cell
  public :: nnp_compute_moved, nnp_compute_ghosts, nnp_workspace_renew, nnp_workspace_outside_atoms
  public :: nnp_model_load, nnp_model_species, nnp_last_error ! these three take and give Fortran's strings

  interface
    integer(c_int) function nnp_version() bind(c)
      import :: c_int
    end function

    integer(c_int) function c_model_load(path, model) bind(c, name="nnp_model_load")
      import :: c_int, c_char, c_ptr
      character(kind=c_char), intent(in) :: path(*)
      type(c_ptr), intent(out) :: model
    end function

    integer(c_int) function nnp_model_parse(data, size, model) bind(c)
      import :: c_int, c_ptr, c_size_t
      type(c_ptr), value :: data
      integer(c_size_t), value :: size
      type(c_ptr), intent(out) :: model
    end function

    subroutine nnp_model_free(model) bind(c)
      import :: c_ptr
      type(c_ptr), value :: model
    end subroutine

    real(c_double) function nnp_model_cutoff(model) bind(c)
      import :: c_double, c_ptr
      type(c_ptr), value :: model
    end function

    integer(c_int) function nnp_model_n_species(model) bind(c)
      import :: c_int, c_ptr
      type(c_ptr), value :: model
    end function

    type(c_ptr) function c_model_species(model, s) bind(c, name="nnp_model_species")
      import :: c_int, c_ptr
      type(c_ptr), value :: model
      integer(c_int), value :: s
    end function

    real(c_double) function nnp_model_mass(model, s) bind(c)
      import :: c_double, c_int, c_ptr
      type(c_ptr), value :: model
      integer(c_int), value :: s
    end function

    type(c_ptr) function c_last_error() bind(c, name="nnp_last_error")
      import :: c_ptr
    end function

    subroutine nnp_default_options(options) bind(c)
      import :: nnp_options
      type(nnp_options), intent(out) :: options
    end subroutine

    integer(c_int) function nnp_workspace_new(model, options, work) bind(c)
      import :: c_int, c_ptr, nnp_options
      type(c_ptr), value :: model
      type(nnp_options), intent(in) :: options
      type(c_ptr), intent(out) :: work
    end function

    subroutine nnp_workspace_free(work) bind(c)
      import :: c_ptr
      type(c_ptr), value :: work
    end subroutine

    subroutine nnp_workspace_renew(work) bind(c)
      import :: c_ptr
      type(c_ptr), value :: work
    end subroutine

    integer(c_int) function nnp_workspace_outside_atoms(work, n, functions) bind(c)
      import :: c_int, c_ptr
      type(c_ptr), value :: work
      integer(c_int), value :: n
      integer(c_int), intent(out) :: functions(*)
    end function

    integer(c_int) function nnp_compute(model, work, n_total, species, x, neighbors, results) bind(c)
      import :: c_int, c_double, c_ptr, nnp_neighbors, nnp_results
      type(c_ptr), value :: model, work
      integer(c_int), value :: n_total
      integer(c_int), intent(in) :: species(*)
      real(c_double), intent(in) :: x(3, *)
      type(nnp_neighbors), intent(in) :: neighbors
      type(nnp_results), intent(in) :: results
    end function

    integer(c_int) function nnp_compute_moved(model, work, n_total, species, x, neighbors, results) bind(c)
      import :: c_int, c_double, c_ptr, nnp_neighbors, nnp_results
      type(c_ptr), value :: model, work
      integer(c_int), value :: n_total
      integer(c_int), intent(in) :: species(*)
      real(c_double), intent(in) :: x(3, *)
      type(nnp_neighbors), intent(in) :: neighbors
      type(nnp_results), intent(in) :: results
    end function

    integer(c_int) function nnp_compute_ghosts(model, work, n, n_total, species, x, results) bind(c)
      import :: c_int, c_double, c_ptr, nnp_results
      type(c_ptr), value :: model, work
      integer(c_int), value :: n, n_total
      integer(c_int), intent(in) :: species(*)
      real(c_double), intent(in) :: x(3, *)
      type(nnp_results), intent(in) :: results
    end function

    ! cell and pbc: c_loc() of real(c_double) (3, 3) and integer(c_int) (3), or c_null_ptr
    integer(c_int) function nnp_compute_cell(model, work, n, species, x, cell, pbc, results) bind(c)
      import :: c_int, c_double, c_ptr, nnp_results
      type(c_ptr), value :: model, work, cell, pbc
      integer(c_int), value :: n
      integer(c_int), intent(in) :: species(*)
      real(c_double), intent(in) :: x(3, *)
      type(nnp_results), intent(in) :: results
    end function

    integer(c_size_t) function c_strlen(s) bind(c, name="strlen")
      import :: c_ptr, c_size_t
      type(c_ptr), value :: s
    end function
  end interface

contains

  integer(c_int) function nnp_model_load(path, model) result(status)
    character(len=*), intent(in) :: path
    type(c_ptr), intent(out) :: model
    model = c_null_ptr
    status = c_model_load(trim(path) // c_null_char, model)
  end function

  function nnp_model_species(model, s) result(symbol)
    type(c_ptr), intent(in) :: model
    integer(c_int), intent(in) :: s
    character(len=:), allocatable :: symbol
    symbol = fortran_string(c_model_species(model, s))
  end function

  function nnp_last_error() result(text)
    character(len=:), allocatable :: text
    text = fortran_string(c_last_error())
  end function

  function fortran_string(pointer) result(text)
    type(c_ptr), intent(in) :: pointer
    character(len=:), allocatable :: text
    character(kind=c_char), pointer :: letters(:)
    integer :: i
    if (.not. c_associated(pointer)) then
      text = ""
      return
    end if
    call c_f_pointer(pointer, letters, [c_strlen(pointer)])
    allocate (character(len=size(letters)) :: text)
    do i = 1, size(letters)
      text(i:i) = letters(i)
    end do
  end function
end module
