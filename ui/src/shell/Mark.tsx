/** The mark of Flywheel: a wheel that is about to close. */
export const Mark = ({ size = 28 }: { size?: number }) => (
  <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" className="mark">
    <rect width="32" height="32" rx="9" fill="#14685a" />
    <circle cx="16" cy="16" r="8" fill="none" stroke="#fff" strokeWidth="3" strokeDasharray="38 12.3" strokeLinecap="round" />
    <circle cx="16" cy="16" r="2.6" fill="#fff" />
  </svg>
);
